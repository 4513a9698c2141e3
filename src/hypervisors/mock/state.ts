/** The mock is one program: what is saved of it is its path and its process. Its machine is in the VMM's folder (wire.ts). */
export { parseProgramState as parseState } from '../program-state.ts';
