/*
 * The keeper: a small shell process between the owner and the VMM. It is the VMM's parent, so it learns how the VMM ends
 * and can end it without trusting a pid; it outlives the owner, which a parent-death signal or an exit handler does not.
 * Plain POSIX sh: runs the same in dash, bash and busybox. No word of the caller's ever becomes shell text.
 *
 * Descriptors: 1 the owner's pipe, 2 the log, 3 what the child gets as its stdout, 4 the lease's read end.
 * Words: where the exit goes, how many words the prune command has, that command, the program.
 *
 * Answers on the pipe, a line each: `pid N`, `stat TEXT` (of /proc/N/stat), then `exit code N` or `exit signal N`
 * (with ` by lease` or ` by end` when the keeper did it), or `detached`.
 */
const source = `
# The traps only note who ended the child: bash forgets a signal that comes just before a wait until that wait is over.
# Caught, not ignored: the child gets every signal's default back. PIPE: the owner may be gone when we speak.
child= by=
trap 'by=end; [ -z "$child" ] || kill -KILL "$child"' HUP INT TERM
trap by=lease USR1
trap by=end USR2
trap : PIPE

exit_file=$1 prune_words=$2
shift 2

( shift "$prune_words" && exec "$@" ) </dev/null >&3 3>&- 4<&- &
child=$!
[ -z "$by" ] || kill -KILL "$child"

# The lease's reader does what must be done at once, whatever the keeper is at. End of file: no owner is left. It acts
# only while the keeper is its parent: the child is then not yet given up, and both pids are still theirs.
(
  trap '' PIPE
  order=lease
  while read -r word <&4; do
    case $word in detach | end) order=$word; break ;; esac
  done
  read -r pid name state parent rest </proc/self/stat
  [ "$parent" = $$ ] || exit
  case $order in
    lease) kill -USR1 $$; kill -KILL "$child" ;;
    end) kill -USR2 $$; kill -KILL "$child" ;;
    detach) printf 'detached\n'; kill -KILL $$ ;;
  esac
) 2>/dev/null 3>&- &
reader=$!
exec 3>&- 4<&-

# Before the wait below the child can't be reaped: its start time is there to be read even if it has ended.
stat=
{ read -r stat <"/proc/$child/stat"; } 2>/dev/null
printf 'pid %s\\nstat %s\\n' "$child" "$stat" 2>/dev/null

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
# -1: bash lost it, since one of our signals and the end that it announced came together (seen in 5.2).
case $again in
  127) ;;
  -*) status=137 ;;
  *) status=$again ;;
esac
child=

if [ "$status" -gt 128 ]; then ended="signal $((status - 128))"; else ended="code $status"; fi
ended=$ended\${by:+ by $by}
umask 077
{ printf '%s\\n' "$ended" >"$exit_file.new" && mv -f -- "$exit_file.new" "$exit_file"; } 2>/dev/null
printf 'exit %s\\n' "$ended" 2>/dev/null
# KILL: a reader that was only just forked still catches what its parent catches, and would lose a TERM.
kill -KILL "$reader" 2>/dev/null
wait "$reader" 2>/dev/null

# Only the first words, the prune command, stay: they are moved to the end, and what is then in front is dropped.
if [ "$by" = lease ] && [ "$prune_words" -gt 0 ]; then
  all=$# left=$prune_words
  while [ "$left" -gt 0 ]; do
    set -- "$@" "$1"
    shift
    left=$((left - 1))
  done
  shift $((all - prune_words))
  exec "$@" </dev/null >&2
fi
`;

/** The script as it is run; its comments would only show up in lists of processes. */
export const keeperScript: string = source.replaceAll(/^ *(?:#.*)?\n|^ +/gm, '');
