// `onepiece serve` over the small workflow, as a process of its own. Not a test.
import { join } from 'node:path';
import { asker } from '../serve/support.js';
import { type Running, scratch, start, until as soon } from './command.js';

export const SMALL = join(__dirname, '../serve/small.js');

/** Starts it, and waits until it listens; it is killed with the test. */
export async function served(
  t: { teardown: (work: () => unknown) => void },
  args: readonly string[] = [],
  store = ['--memory'],
) {
  const running: Running = start(
    ['serve', SMALL, '--port', '0', '--json', '--log-level', 'warn', ...store, ...args],
    scratch(),
  );
  t.teardown(() => running.child.kill('SIGKILL'));
  let text = '';
  running.child.stdout!.on('data', (chunk) => {
    text += chunk;
  });
  const document = await soon('it listens', () => (text.endsWith('\n') ? JSON.parse(text) : undefined), 60_000);
  const { url } = document as { url: string };
  return { ...running, document, url, ask: asker(url), pid: running.child.pid! };
}
