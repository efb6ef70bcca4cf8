// A consumer process: acknowledges what it has told its parent, and says which messages those were.
import { renameSync, writeFileSync } from 'node:fs';
import { Collector } from './collector.js';
import { openInbox } from './support.js';

interface InboxArgs {
  portFile: string;
  /** Ends by itself, without a word to anybody, after so many messages; 0 never. */
  dieAfter: number;
}

async function main({ portFile, dieAfter }: InboxArgs): Promise<void> {
  const collector = new Collector();
  let count = 0;
  const inbox = await openInbox({
    onMessage: (message) => {
      const problem = collector.take(message);
      process.send?.({ got: [message.from, collector.lastNumber], problem });
      message.release();
      // The last ones before the end were delivered, and their producer does not know it.
      if (dieAfter === 0 || count < dieAfter - 3) message.acknowledge();
      if (++count === dieAfter) process.kill(process.pid, 'SIGKILL');
    },
  });
  // Renamed into its place: a producer never reads half of it.
  writeFileSync(`${portFile}.new`, String(inbox.bootstrap.port));
  renameSync(`${portFile}.new`, portFile);
  process.send?.({ listening: inbox.bootstrap.port });
}

void main(JSON.parse(process.argv[2] as string) as InboxArgs);
