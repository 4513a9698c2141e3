/*
 * The keeper: a small shell process between the owner and the VMM. It is the VMM's parent, so it learns how the VMM ends
 * and can end it without trusting a pid; it outlives the owner, which a parent-death signal or an exit handler does not.
 * Plain POSIX sh: runs the same in dash, bash and busybox. No word of the caller's ever becomes shell text.
 *
 * It has two parts. The first makes the FIFOs and leaves a reader of the lease behind, which does what must be done at once. Where
 * the child gets a pid namespace, it then becomes the second part through `unshare --pid`, after which a process's children, and only
 * they, are in a new pid namespace. So the VMM is process 1 of its namespace with no process of ours in it; what the keeper
 * forked later would be in it too, so it forks nothing more, and the reader, which was forked before, runs the prune command.
 *
 * Descriptors: 1 the owner's pipe, 2 the log, 3 what the child gets as its stdout; made here, 4 the lease's read end, 5 its write
 * end, 6 the write end of `alive`, which the child keeps, 7 its read end. The working folder is the VM's, which may get another name.
 *
 * Says on the pipe, a line each: `ready` when the lease is there, which the owner then joins; `pid N`, which it answers with `known`
 * when it knows that process, which is not waited for until then; `exit code N` or `exit signal N`, before that `by lease`
 * or `by end` when it was the reader's doing; or `detached`. There is no child before the owner has said `go`.
 */

/** The start time of a process: field 22 of its stat, the 20th after the name, which may hold blanks; and its pid. */
const startedFunction = `
started() {
  start= pid=
  { read -r stat <"/proc/$1/stat"; } 2>/dev/null || return
  pid=\${stat%% *}
  set -- \${stat##*) }
  start=\${20}
}
`;

/**
 * Words: `mkfifo`, the lease, `alive`, the file to which the exit goes, how many words the prune command has, that command; then
 * the words or the command of the second part.
 */
const first = `
mkfifo=$1 lease=$2 alive=$3 exit_file=$4 prune_words=$5
shift 5

# The owner may be gone when we speak.
trap : PIPE
# Read-write first: no end's opening then waits for the other one (fifo(7)).
"$mkfifo" -m 600 -- "$lease" "$alive" || exit
exec 8<>"$lease" 4<"$lease" 5>"$lease" 9<>"$alive" 6>"$alive" 7<"$alive"
exec 8>&- 9>&-
printf 'ready\\n' 2>/dev/null

# End of file: no owner is left. It can't come before the child is known, which holds a write end until it has told of itself.
# \`over\` is the keeper's own word. Forked twice: bash waits for all children of the keeper at once, and this one stays.
started $$
keeper_start=$start
( (
  trap '' HUP INT TERM PIPE
  order= child= born= killed=
  while [ -z "$order" ] || [ -z "$child" ]; do
    read -r word rest <&4 || { order=\${order:-lease}; break; }
    case $word in
      child) child=\${rest% *} born=\${rest#* } ;;
      detach | end | over) order=$word ;;
    esac
  done
  # Neither pid can be another process's as long as the keeper lives; when someone has killed it, the start times tell.
  case $order in
    over) exit ;;
    # The lease first: whoever sees the pipe's end must find nobody who reads it.
    detach) exec 4<&-; started $$; [ "$start" != "$keeper_start" ] || { printf 'detached\\n'; kill -KILL $$; }; exit ;;
  esac
  [ -n "$child" ] || exit
  started "$child"
  if [ -n "$start" ] && [ "$start" = "$born" ]; then killed=yes; printf 'by %s\\n' "$order"; kill -KILL "$child"; fi

  # Child and keeper have ended, and the exit is written down, when nobody holds the write end any more.
  while read -r word <&7; do :; done
  [ -n "$killed" ] && read -r ended <"$exit_file" && printf '%s by %s\\n' "$ended" "$order" >"$exit_file"
  if [ "$order" = end ] || [ "$prune_words" = 0 ]; then exit; fi
  # Only the first words, the prune command, stay: they are moved to the end, and what is then in front is dropped.
  all=$# left=$prune_words
  while [ "$left" -gt 0 ]; do
    set -- "$@" "$1"
    shift
    left=$((left - 1))
  done
  shift $((all - prune_words))
  cd /
  # 8: whoever listens on the pipe learns from its end that the command is over.
  exec "$@" </dev/null 8>&1 >&9 2>&9 9>&- 4<&- 7<&-
) 9>&2 2>/dev/null 3>&- 5>&- 6>&- & )

shift "$prune_words"
exec 4<&- 7<&-
# Tools read a dozen files for another language.
LC_ALL=C
export LC_ALL
`;

/** How the first part becomes the second one by way of a command. */
const through = `
exec "$@"
`;

/**
 * Words: the lease, the file to which the exit goes; the most that one file may grow by the child's writing, in blocks of 512
 * bytes, or 0 for no limit; the child's working folder; what the child's preparation takes away, and the child.
 */
const second = (preparation: string): string => `
lease=$1 exit_file=$2 blocks=$3 folder=$4
shift 4

# The reader ends the child: a signal that ends our wait and the end of the child must not come together, since bash (seen
# in 5.2) then forgets one of them. Opened for both, a FIFO without a reader doesn't make us wait. Caught, not ignored: the
# child gets every signal's default back. PIPE: the owner may be gone when we speak.
tell() {
  printf '%s\\n' "$1" 1<>"$lease"
}
trap 'tell end' HUP INT TERM
trap : PIPE

# The owner may still be making what the child needs. Without its word there is no child: that failed, or nobody wants one any more.
read -r go <&1 || exit

# XFSZ: a write beyond the limit then fails, instead of ending who writes.
(
  started self
  printf 'child %s %s\\n' "$pid" "$start" >&5
  exec 5>&-
  if [ "$blocks" != 0 ]; then ulimit -S -f "$blocks"; trap '' XFSZ; fi
  ${preparation.trim()}
  cd -- "$folder" && exec "$@"
) </dev/null >&3 3>&- &
child=$!
exec 3>&-

# Before the wait below the child can't be reaped, even if it has ended. Until the owner holds the lease we do; the pipe's end
# tells that there is none.
printf 'pid %s\\n' "$child" 2>/dev/null
read -r known <&1
exec 5>&-

# A wait that a signal interrupts is repeated. The last one is for shells that reap at once and remember the status;
# the others answer 127: they told it already. Shells speak of killed jobs on stderr, which is the VMM's log here.
wait "$child" 2>/dev/null
status=$?
while [ "$status" -gt 128 ] && kill -0 "$child" 2>/dev/null; do
  wait "$child" 2>/dev/null
  status=$?
done
wait "$child" 2>/dev/null
again=$?
# -1: bash lost it.
case $again in
  127) ;;
  -*) status=137 ;;
  *) status=$again ;;
esac

if [ "$status" -gt 128 ]; then ended="signal $((status - 128))"; else ended="code $status"; fi
umask 077
{ printf '%s\\n' "$ended" >"$exit_file"; } 2>/dev/null
printf 'exit %s\\n' "$ended" 2>/dev/null
{ tell over; } 2>/dev/null
`;

/** The scripts as they are run; their comments would only show up in lists of processes. */
export const keeperScripts: {
  /** both parts in one shell; `preparation` as for the second */
  readonly whole: (preparation: string) => string;
  /** the first part, which becomes what comes after its own words */
  readonly first: string;
  /** @param preparation shell text that the child runs before it becomes the program: it shifts its words away */
  readonly second: (preparation: string) => string;
} = {
  whole: (preparation) => withoutComments(startedFunction + first + second(preparation)),
  first: withoutComments(startedFunction + first + through),
  second: (preparation) => withoutComments(startedFunction + second(preparation)),
};

function withoutComments(source: string): string {
  return source.replaceAll(/^ *(?:#.*)?\n|^ +/gm, '');
}
