// The root of the package: the nearest directory upwards whose package.json has its name.
import fs from 'node:fs';
import path from 'node:path';

export function findRoot(from = __dirname): string {
  const file = path.join(from, 'package.json');
  if (fs.existsSync(file)) {
    const { name } = JSON.parse(fs.readFileSync(file, 'utf8')) as { name?: string };
    if (name === 'onepiece-rdma') return from;
  }
  const parent = path.dirname(from);
  if (parent === from) throw new Error(`no onepiece-rdma above ${__dirname}`);
  return findRoot(parent);
}
