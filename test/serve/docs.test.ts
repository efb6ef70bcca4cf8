// Proves that docs/serve.md says what the code does: every route, option and code, and no other.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { serveCommand } from '../../src/ts/cli/serve.js';
import { LIMITS } from '../../src/ts/serve/options.js';
import { CODE_STATUSES } from '../../src/ts/serve/problem.js';
import { isRawType } from '../../src/ts/serve/request-body.js';
import { REQUEST_CONTENT, ROUTES } from '../../src/ts/serve/routes.js';
import { packageRoot } from '../../src/ts/addon/native.js';

const page = readFileSync(join(packageRoot(), 'docs/serve.md'), 'utf8');
const section = (title: string) => page.split(/^## /m).find((text) => text.startsWith(`${title}\n`))!;
const rows = (title: string) =>
  [...section(title).matchAll(/^\| (.*) \|$/gm)].map(([, row]) => row!.split(' | ')).slice(1);
const kebab = (name: string) => name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);

void t.test('routes', async (t) => {
  const said = rows('Routes').map(([route]) => route!.replaceAll('`', ''));
  t.strictSame(
    said.sort(),
    Object.values(ROUTES)
      .map(({ method, url }) => `${method} ${url}`)
      .sort(),
  );
  const queries = [...section('Routes').matchAll(/`\?(\w+)=/g)].map(([, name]) => name!);
  const known = Object.values(ROUTES).flatMap(({ query }) => Object.keys(query.properties as object));
  t.strictSame(
    queries.filter((name) => !known.includes(name)),
    [],
  );
});

void t.test('bodies', async (t) => {
  const types = rows('Bodies').flatMap(([types]) => [...types!.matchAll(/`([^`]+)`/g)].map(([, type]) => type!));
  t.strictSame(types.sort(), Object.keys(REQUEST_CONTENT).sort());
  for (const type of types.filter((each) => !/json|form/.test(each))) t.ok(isRawType(type.replace('*', 'x')), type);
});

void t.test('codes', async (t) => {
  const said = rows('Errors').map(([code, status]) => [code!.replaceAll('`', ''), Number(status)]);
  t.strictSame(Object.fromEntries(said), CODE_STATUSES);
});

void t.test('limits', async (t) => {
  const said = rows('Limits').map(([option, fallback, about]) => [
    option!.replaceAll('`', ''),
    Number(fallback),
    about,
  ]);
  const wanted = Object.entries(LIMITS).map(([name, limit]) => [`--${kebab(name)}`, limit.default, limit.about]);
  t.strictSame(said, wanted);
});

void t.test('options', async (t) => {
  const options = serveCommand(() => {}).options.map(({ long }) => long!.replace('--no-', '--'));
  const said = [...page.matchAll(/--[a-z-]+[a-z]/g)].map(([option]) => option);
  t.strictSame(
    said.filter((option) => !options.includes(option)),
    [],
  );
  for (const option of ['--store', '--redis', '--memory', '--tokens-file', '--name', '--export', '--log-level']) {
    t.ok(said.includes(option), option);
  }
});
