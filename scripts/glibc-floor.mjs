// `node scripts/glibc-floor.mjs [ADDON...]`: on which machines an addon loads, as the versions of its symbols say.
//
// Invariant: an addon that needs a newer glibc or libgcc than FLOORS, or any library that Node.js does not bring
// itself, is refused with the names. Needs readelf (binutils, which comes with every compiler of Debian).
import { spawnSync } from 'node:child_process';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

/** The newest version of each library's symbols that may be needed: what Node.js's own binaries of 20 to 24 need. */
export const FLOORS = { GLIBC: '2.28', GCC: '7.0.0' };
/** What is there wherever Node.js is. libstdc++ is not among them: the addon has its own. */
const LIBRARIES = /^(libc\.so\.6|libm\.so\.6|libpthread\.so\.0|libdl\.so\.2|libgcc_s\.so\.1|ld-linux-.*\.so\.\d)$/;

function readelf(option, file) {
  const { status, stdout, stderr, error } = spawnSync('readelf', ['--wide', option, file], {
    encoding: 'utf8',
    maxBuffer: 64 << 20,
    env: { ...process.env, LC_ALL: 'C' },
  });
  if (status !== 0) throw new Error(`readelf ${option} ${file}: ${error?.message ?? stderr}`);
  return stdout;
}

const isNewer = (version, floor) => {
  const [a, b] = [version, floor].map((text) => text.split('.').map(Number));
  for (let i = 0; i < Math.max(a.length, b.length); i++) {
    if ((a[i] ?? 0) !== (b[i] ?? 0)) return (a[i] ?? 0) > (b[i] ?? 0);
  }
  return false;
};

/**
 * Reads an addon.
 *
 * @param file its path
 * @returns the newest needed version by the name of the set (GLIBC, GCC, ...), and what is beyond the floors
 */
export function readFloor(file) {
  const newest = {};
  const beyond = [];
  let count = 0;
  for (const line of readelf('--dyn-syms', file).split('\n')) {
    // "  12: 0000000000000000     0 FUNC    GLOBAL DEFAULT  UND memcpy@GLIBC_2.14 (5)"
    const [, symbol, set, version] = /\sUND\s+(\S+?)@+([A-Z]+)_([\d.]+)/.exec(line) ?? [];
    if (symbol === undefined) continue;
    count++;
    if (newest[set] === undefined || isNewer(version, newest[set])) newest[set] = version;
    if (FLOORS[set] === undefined || isNewer(version, FLOORS[set])) beyond.push(`${symbol} of ${set}_${version}`);
  }
  if (count === 0) throw new Error(`${file} needs no symbol of any version: readelf was not understood`);
  for (const [, library] of readelf('--dynamic', file).matchAll(/\(NEEDED\).*\[(.*)\]/g)) {
    if (!LIBRARIES.test(library)) beyond.push(`the library ${library}`);
  }
  return { newest, beyond };
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const files = process.argv.length > 2 ? process.argv.slice(2) : ['build/Release/onepiece.node'];
  for (const file of files) {
    const { newest, beyond } = readFloor(path.resolve(file));
    const needs = Object.entries(newest).map((entry) => entry.join('_'));
    console.log(`${file} needs ${needs.join(', ')}`);
    if (beyond.length === 0) continue;
    const floors = Object.entries(FLOORS).map((entry) => entry.join('_'));
    console.error(`${file} does not load where there is only ${floors.join(' and ')}: it needs ${beyond.join(', ')}`);
    console.error('  Remedy: define the symbol in src/native/glibc_floor.cc, or do without it');
    process.exitCode = 1;
  }
}
