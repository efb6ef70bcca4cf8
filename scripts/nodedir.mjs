// Prints a directory for npm_config_nodedir, so that node-gyp downloads nothing.
//
// Invariant: it is the prefix of this node when it came with headers, else one made of node-api-headers and of what
// this node says about itself. A Node-API addon needs no more.
import fs from 'node:fs';
import path from 'node:path';
import { nodeApiInclude, root } from './native-inputs.mjs';

function makeNodedir() {
  const prefixes = [process.env.npm_config_nodedir, path.resolve(process.execPath, '../..')].filter(Boolean);
  const complete = (prefix) =>
    ['node_api.h', 'common.gypi', 'config.gypi'].every((name) =>
      fs.existsSync(path.join(prefix, 'include/node', name)),
    );
  const found = prefixes.find(complete);
  if (found) return found;
  const nodedir = path.join(root, 'build-nodedir');
  const include = path.join(nodedir, 'include/node');
  fs.mkdirSync(include, { recursive: true });
  fs.cpSync(nodeApiInclude(), include, { recursive: true });
  const configurations = { Debug: {}, Release: {} };
  const common = { target_defaults: { default_configuration: 'Release', configurations } };
  fs.writeFileSync(path.join(include, 'common.gypi'), JSON.stringify(common));
  fs.writeFileSync(path.join(include, 'config.gypi'), JSON.stringify(process.config));
  return nodedir;
}

console.log(makeNodedir());
