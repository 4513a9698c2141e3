/** Prints what a user should know of a VM on stderr. */
export function tellNotice(name: string): (notice: string) => void {
  return (notice) => void process.stderr.write(`polyvisor: ${name}: ${notice}\n`);
}
