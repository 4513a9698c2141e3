/** acrn-dm is one program: what is saved of it is its path, its version and its process. Its devices are in a file (state-devices.ts). */
export { parseProgramState as parseState } from '../program-state.ts';
