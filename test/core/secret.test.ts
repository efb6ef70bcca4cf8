// Proves that a secret that is kept is printed by nothing.
import { inspect } from 'node:util';
import t from 'tap';
import { hideSecret, Secret } from '../../src/ts/core/secret.js';

const VALUE = 'nobody should see this';

void t.test('nothing prints it, and whoever needs it gets it', async (t) => {
  const secret = new Secret(VALUE);
  const bytes = new Secret(Buffer.from(VALUE));
  const printed = [
    ...[secret, bytes, { secret, bytes }].map((value) => inspect(value, { showHidden: true, depth: 9 })),
    String(secret),
    `${bytes}`,
    JSON.stringify({ secret, bytes }),
    inspect(new Error('words', { cause: { secret } })),
    inspect(structuredClone(secret)),
  ].join('\n');
  t.notMatch(printed, /nobody|6e 6f 62/);
  t.match(printed, /\[secret\]/);
  t.equal(secret.reveal(), VALUE);
});

void t.test('options are copied with their secret hidden, once', async (t) => {
  const options = { secret: VALUE, port: 7 };
  const hidden = hideSecret(options);
  t.notMatch(inspect(hidden, { showHidden: true }), /nobody/);
  t.equal(hidden.port, 7);
  t.equal(hidden.secret.reveal(), VALUE);
  t.equal(hideSecret(hidden).secret, hidden.secret);
  t.equal(options.secret, VALUE, "the user's stay as they are");
  class Options {
    secret = VALUE;
    get port() {
      return 8;
    }
  }
  const inherited = hideSecret(new Options());
  t.equal(inherited.port, 8, 'also what is inherited');
  t.notMatch(inspect(inherited, { showHidden: true }), /nobody/);
});
