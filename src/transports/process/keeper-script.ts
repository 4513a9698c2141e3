/*
 * The keeper: a small shell process between the owner and the VMM. It is the VMM's parent, so it learns how the VMM ends
 * and can end it without trusting a pid; it outlives the owner, which a parent-death signal or an exit handler does not.
 * Plain POSIX sh: runs the same in dash, bash and busybox.
 *
 * It has two parts. The first begins before there is anything that could be left behind, and prunes when its owner dies. Told that
 * the VM's folder is there, it makes the FIFOs and leaves a reader of the lease behind, which does what must be done at once. Then it
 * becomes the second part; where the child gets a pid namespace through `unshare --pid`, after which a
 * process's children, and only they, are in a new pid namespace. So the VMM is process 1 of its namespace with no process of ours in
 * it; what the keeper forked later would be in it too, so it forks nothing more, and the reader, which was forked before, runs the
 * prune command.
 *
 * Descriptors: 1 the owner's pipe, 2 the log, 3 what the child gets as its stdout; made here, 4 the lease's read end, 5 its write
 * end, 6 the write end of `alive`, which the child keeps, 7 its read end. The working folder is the VM's, which may get another name.
 *
 * Hears on the pipe, a word a line: `made`, the folder is there; `go`, how the child is started can be read (start-script.ts);
 * `over` in place of either, there will be no child. Says: `ready` when the lease is there, which the owner then joins; `waits` when
 * nothing but `go` is missing; `pid N START`, the child's own word before it becomes anything else, which the owner answers with `known`; `exit code N` or
 * `exit signal N`, before that `by lease` or `by end` when it was the reader's doing; or `detached`.
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
 * Words: `mkfifo`, the VM's folder, in it the lease, `alive` and the file to which the exit goes, the files to which the child's
 * output and errors go, how many words the prune command has, that command; then the command through which the second part is run.
 */
const first = `
mkfifo=$1 folder=$2 lease=$3 alive=$4 exit_file=$5 output=$6 errors=$7 prune_words=$8
shift 8

# Only the first words, the prune command, stay: they are moved to the end, and what is then in front is dropped.
prune() {
  left=$prune_words all=$#
  while [ "$left" -gt 0 ]; do
    set -- "$@" "$1"
    shift
    left=$((left - 1))
  done
  shift $((all - prune_words))
  cd /
  exec "$@"
}

# Caught, not ignored: what comes after us gets every signal's default back. PIPE: the owner may be gone when we speak.
trap 'caught=yes' HUP INT TERM
trap : PIPE
caught=
until read -r word <&1; do
  if [ -z "$caught" ]; then
    [ "$prune_words" != 0 ] || exit
    prune "$@" </dev/null >/dev/null
  fi
  caught=
done
[ "$word" = made ] || exit
cd -- "$folder" || exit
exec 2>>"$errors" 3>>"$output"

# Tools read a dozen files for another language. Ours stays: the prune command gets it.
LC_ALL=C "$mkfifo" -m 600 -- "$lease" "$alive" || exit
# Read-write first: no end's opening then waits for the other one (fifo(7)).
exec 8<>"$lease" 4<"$lease" 5>"$lease" 9<>"$alive" 6>"$alive" 7<"$alive"
exec 8>&- 9>&-
printf 'ready\\n' 2>/dev/null

# End of file: no owner is left. \`over\` and \`none\` are the keeper's own words: the child has ended, or there will be none. One that
# was killed before it told of itself is as good as none that was wanted: the owner may be dead. Forked twice: bash waits for all
# children of the keeper at once, and this one stays.
started $$
keeper_start=$start
( (
  trap '' HUP INT TERM PIPE
  order= child= born= killed=
  while [ -z "$order" ] || [ -z "$child" ]; do
    read -r word rest <&4 || { order=\${order:-lease}; break; }
    case $word in
      child) child=\${rest% *} born=\${rest#* } ;;
      detach | end | over | none) order=$word ;;
    esac
  done
  # Neither pid can be another process's as long as the keeper lives; when someone has killed it, the start times tell.
  case $order in
    none) exit ;;
    over) [ -z "$child" ] || exit; order=lease ;;
    # The lease first: whoever sees the pipe's end must find nobody who reads it.
    detach) exec 4<&-; started $$; [ "$start" != "$keeper_start" ] || { printf 'detached\\n'; kill -KILL $$; }; exit ;;
  esac
  start=
  [ -z "$child" ] || started "$child"
  if [ -n "$start" ] && [ "$start" = "$born" ]; then killed=yes; printf 'by %s\\n' "$order"; kill -KILL "$child"; fi

  # Child and keeper have ended, and the exit is written down, when nobody holds the write end any more.
  while read -r word <&7; do :; done
  [ -n "$killed" ] && read -r ended <"$exit_file" && printf '%s by %s\\n' "$ended" "$order" >"$exit_file"
  if [ "$order" = end ] || [ "$prune_words" = 0 ]; then exit; fi
  # 8: whoever listens on the pipe learns from its end that the command is over.
  prune "$@" </dev/null 8>&1 >&9 2>&9 9>&- 4<&- 7<&-
) 9>&2 2>/dev/null 3>&- 5>&- 6>&- & )

shift "$prune_words"
exec 4<&- 7<&-
LC_ALL=C
export LC_ALL
exec "$@"
`;

/** Words: the lease, the file to which the exit goes, the one that says how the child is started. */
const second = `
lease=$1 exit_file=$2 start_file=$3

# The reader ends the child: a signal that ends our wait and the end of the child must not come together, since bash (seen
# in 5.2) then forgets one of them. Opened for both, a FIFO without a reader doesn't make us wait. Caught, not ignored: the
# child gets every signal's default back. PIPE: the owner may be gone when we speak.
tell() {
  printf '%s\\n' "$1" 1<>"$lease"
}
# By its descriptor as long as there is one: the VM may be started anew by another keeper, under whose lease's name ours was.
trap "printf 'end\\\\n' >&5" HUP INT TERM
trap : PIPE

printf 'waits\\n' 2>/dev/null
# The owner may still be making what the child needs. Without its word there is no child: it is dead, or wants none any more, of which
# it may tell us before it holds the lease.
read -r word <&1
case $word in
  go) ;;
  over) printf 'none\\n' >&5; exit ;;
  *) exit ;;
esac
. "./$start_file"

# The owner first: the reader ends it as soon as it knows it. Also when the owner is gone.
(
  trap : PIPE
  started self
  printf 'pid %s %s\\n' "$pid" "$start" >&8 2>/dev/null
  printf 'child %s %s\\n' "$pid" "$start" >&5
  exec 5>&- 8>&-
  become_program
) </dev/null 8>&1 >&3 3>&- &
child=$!
exec 3>&-

# Until the owner holds the lease we do; the pipe's end tells that there is none.
read -r known <&1
trap 'tell end' HUP INT TERM
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
export const keeperScripts: { readonly first: string; readonly second: string } = {
  first: withoutComments(startedFunction + first),
  second: withoutComments(startedFunction + second),
};

function withoutComments(source: string): string {
  return source.replaceAll(/^ *(?:#.*)?\n|^ +/gm, '');
}
