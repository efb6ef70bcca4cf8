// The versions of Node.js, the package managers and the other runtimes that the package is tried with.
//
// Invariant: each is pinned, and comes from the npm registry into a temporary directory; nothing is installed here.
import fs from 'node:fs';
import path from 'node:path';
import { run } from './commands.mjs';

/** The newest of each supported line when this was last looked at. */
const NODES = { 20: '20.20.2', 22: '22.23.3', 24: '24.21.0' };

const PACKAGES = {
  ...Object.fromEntries(
    Object.entries(NODES).map(([major, version]) => [
      `node${major}`,
      `npm:node-${process.platform}-${process.arch}@${version}`,
    ]),
  ),
  // As it comes with Node.js 20 and 22.
  npm10: 'npm:npm@10.9.9',
  pnpm: '10.34.9',
  yarn1: 'npm:yarn@1.22.22',
  yarn4: 'npm:@yarnpkg/cli-dist@4.18.1',
  bun: `npm:@oven/bun-linux-${{ x64: 'x64-baseline', arm64: 'aarch64' }[process.arch]}@1.4.5`,
  deno: '2.9.6',
};

/**
 * Brings the tools.
 *
 * @param directory an empty one for them
 * @returns the programs, each as the command and its first arguments
 */
export function bringTools(directory) {
  fs.writeFileSync(path.join(directory, 'package.json'), JSON.stringify({ private: true, dependencies: PACKAGES }));
  run('npm', ['install', '--prefer-offline', '--no-audit', '--no-fund', '--ignore-scripts'], directory);
  const file = (name) => path.join(directory, 'node_modules', name);
  const script = (name) => [process.execPath, file(name)];
  return {
    nodes: Object.fromEntries(
      Object.entries(NODES).map(([major, version]) => [version, file(`node${major}/bin/node`)]),
    ),
    npms: { 'npm of this machine': ['npm'], 'npm 10': script('npm10/bin/npm-cli.js') },
    pnpm: script('pnpm/bin/pnpm.cjs'),
    yarn1: script('yarn1/bin/yarn.js'),
    yarn4: script('yarn4/bin/yarn.js'),
    others: { Bun: [file('bun/bin/bun')], Deno: [file('.bin/deno'), 'run', '-A'] },
  };
}
