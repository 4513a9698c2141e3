import { VmError } from '../errors.ts';
import { elfSections } from './elf.ts';

const signatureMark = Buffer.from('~Module signature appended~\n');
/** `struct module_signature` of the kernel's include/linux/module_signature.h: the signature's length is its last field. */
const signatureInfoLength = 12;

/**
 * A module as the default guest loads it: without its signature, and with its BTF type data hidden under another section name.
 * Checking the one and parsing the other is more than half of the work of loading a module. The guest trusts its initrd as it
 * trusts its kernel, both come from the host; the kernel is marked as tainted (E) by it.
 * @throws {VmError} FILE_INVALID when the content is no module
 */
export function lightModule(content: Buffer): Buffer {
  const light = Buffer.from(withoutSignature(content));
  const names = elfSections(light).find(({ name }) => name === '.shstrtab')?.data;
  const at = names?.indexOf('\0.BTF\0', 0, 'latin1') ?? -1;
  if (at >= 0) names?.write('.btf', at + 1, 'latin1');
  return light;
}

function withoutSignature(content: Buffer): Buffer {
  const markAt = content.length - signatureMark.length;
  if (markAt < signatureInfoLength || !content.subarray(markAt).equals(signatureMark)) return content;
  const start = markAt - signatureInfoLength - content.readUInt32BE(markAt - 4);
  if (start < 0) throw new VmError('FILE_INVALID', "a kernel module's signature is longer than the module");
  return content.subarray(0, start);
}
