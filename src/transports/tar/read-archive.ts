import type { TarEntry } from './entry.ts';
import { TarReader } from './reader.ts';

/** Takes what an archive holds, in order. */
export interface ArchiveSink {
  entry(entry: TarEntry): Promise<void>;
  /** the next bytes of the entry's body */
  data(data: Buffer): Promise<void>;
  /** the end of the entry */
  end(): Promise<void>;
}

/**
 * Reads an archive that nobody vouches for into a sink, to its end.
 * @throws {VmError} ARCHIVE_INVALID; what source and sink throw
 */
export async function readArchive(source: AsyncIterable<Buffer>, sink: ArchiveSink): Promise<void> {
  const reader = new TarReader();
  for await (const chunk of source) {
    for (const event of reader.push(chunk)) {
      if (event === 'end') await sink.end();
      else if ('data' in event) await sink.data(event.data);
      else await sink.entry(event.entry);
    }
  }
  reader.finish();
}
