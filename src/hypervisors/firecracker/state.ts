/** Firecracker is one program: what is saved of it is its path and its process. */
export { parseProgramState as parseState } from '../program-state.ts';
