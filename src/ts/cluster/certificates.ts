// The cluster's own certificate authority, and the certificates of its nodes.
//
// Invariant: keys come from the system's generator, and no file with a key is ever readable by others. A folder that
// has an authority keeps it: a new one would shut out every existing node.
import { generateKeyPair, randomBytes } from 'node:crypto';
import { chmodSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { TLS_FILES } from '../connect/index.js';
import { RdmaError } from '../core/errors.js';
import { checkInteger, checkString } from '../core/validate.js';
import { checkName } from './cluster-records.js';
import { type Forge, type ForgeCertificate, loadForge } from './forge-module.js';

const CA_KEY = 'ca-key.pem';
const SECRET = 'secret';
const NODES = 'nodes';
const KEY_BITS = 3072;
const CA_DAYS = 3650;
/** One day, as the clocks of hosts differ. */
const DAY_MS = 86_400_000;
const MAX_DAYS = 3650;
const PRIVATE_FILE = 0o600;
const PRIVATE_FOLDER = 0o700;

/** Where everything of a cluster lies. */
export interface ClusterFiles {
  /** Certificate of the authority, and its key, which no node needs. */
  readonly ca: string;
  readonly caKey: string;
  /** The secret of the cluster, for `--secret-file`. */
  readonly secret: string;
}

/**
 * Makes the authority of a new cluster, and its secret.
 *
 * @param directory is made, for its owner only; must not have an authority yet
 * @throws RdmaError RDMA_ERR_CONFLICT when it has one; RDMA_ERR_NOT_SUPPORTED without node-forge; EACCES, ENOSPC...
 */
export async function initCluster(directory: string): Promise<ClusterFiles> {
  checkString('directory', directory, { minLength: 1, maxLength: 4096 });
  const forge = loadForge();
  const files = filesOf(directory);
  if (existsSync(files.ca) || existsSync(files.caKey)) {
    throw new RdmaError('RDMA_ERR_CONFLICT', `${directory} has the authority of a cluster already`, {
      remedy: `certify another node with it, or remove ${files.ca} and ${files.caKey}: then no node that there is gets in`,
    });
  }
  mkdirSync(directory, { recursive: true, mode: PRIVATE_FOLDER });
  const keys = await makeKeys();
  const names = [{ name: 'commonName', value: `onepiece cluster ${randomBytes(4).toString('hex')}` }];
  const certificate = begin(forge, keys.publicKey, CA_DAYS);
  certificate.setSubject(names);
  certificate.setIssuer(names);
  certificate.setExtensions([
    { name: 'basicConstraints', cA: true, pathLenConstraint: 0, critical: true },
    { name: 'keyUsage', keyCertSign: true, critical: true },
  ]);
  certificate.sign(forge.pki.privateKeyFromPem(keys.privateKey), forge.md.sha256.create());
  writePrivate(files.caKey, keys.privateKey);
  writeFileSync(files.ca, forge.pki.certificateToPem(certificate), { flag: 'wx' });
  if (!existsSync(files.secret)) writePrivate(files.secret, `${randomBytes(32).toString('hex')}\n`);
  return files;
}

/**
 * Makes the certificate of a node, signed by the cluster's authority.
 *
 * @param directory as {@link initCluster} has made it
 * @param node its name: 1 to 64 letters, digits, `-`, `_` and `=`
 * @param days how long it is valid, 1 to 3650
 * @returns the folder for `--tls-dir` of that node; what was there under that name is replaced
 * @throws RdmaError RDMA_ERR_NOT_FOUND when there is no authority; RDMA_ERR_NOT_SUPPORTED; RDMA_ERR_INVALID_ARGUMENT
 */
export async function certifyNode(directory: string, node: string, days = 730): Promise<string> {
  checkString('directory', directory, { minLength: 1, maxLength: 4096 });
  checkName('the name of a node', node);
  checkInteger('days', days, 1, MAX_DAYS);
  const forge = loadForge();
  const { ca, caKey } = filesOf(directory);
  const [caPem, caKeyPem] = [ca, caKey].map((file) => readOf(file, directory)) as [string, string];
  const authority = forge.pki.certificateFromPem(caPem);
  const keys = await makeKeys();
  const certificate = begin(forge, keys.publicKey, days);
  certificate.setSubject([{ name: 'commonName', value: node }]);
  certificate.setIssuer(authority.subject.attributes);
  certificate.setExtensions([
    { name: 'basicConstraints', cA: false, critical: true },
    { name: 'keyUsage', digitalSignature: true, critical: true },
    { name: 'extKeyUsage', serverAuth: true, clientAuth: true },
  ]);
  certificate.sign(forge.pki.privateKeyFromPem(caKeyPem), forge.md.sha256.create());
  const folder = join(directory, NODES, node);
  mkdirSync(folder, { recursive: true, mode: PRIVATE_FOLDER });
  rmSync(join(folder, TLS_FILES.key), { force: true });
  writePrivate(join(folder, TLS_FILES.key), keys.privateKey);
  writeFileSync(join(folder, TLS_FILES.certificate), forge.pki.certificateToPem(certificate));
  writeFileSync(join(folder, TLS_FILES.ca), caPem);
  return folder;
}

function filesOf(directory: string): ClusterFiles {
  return { ca: join(directory, TLS_FILES.ca), caKey: join(directory, CA_KEY), secret: join(directory, SECRET) };
}

function readOf(file: string, directory: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch (cause) {
    throw new RdmaError('RDMA_ERR_NOT_FOUND', `${file} cannot be read: ${(cause as Error).message}`, {
      remedy: `make the authority first: onepiece cluster init --dir ${directory}`,
      cause,
    });
  }
}

function writePrivate(file: string, text: string): void {
  writeFileSync(file, text, { flag: 'wx', mode: PRIVATE_FILE });
  chmodSync(file, PRIVATE_FILE);
}

async function makeKeys(): Promise<{ publicKey: string; privateKey: string }> {
  return promisify(generateKeyPair)('rsa', {
    modulusLength: KEY_BITS,
    publicKeyEncoding: { type: 'spki', format: 'pem' },
    privateKeyEncoding: { type: 'pkcs1', format: 'pem' },
  });
}

function begin(forge: Forge, publicKey: string, days: number): ForgeCertificate {
  const certificate = forge.pki.createCertificate();
  certificate.publicKey = forge.pki.publicKeyFromPem(publicKey);
  // Positive, and not zero: the first bit is 0, the second one 1.
  const serial = randomBytes(16);
  serial[0] = (serial[0]! & 0x3f) | 0x40;
  certificate.serialNumber = serial.toString('hex');
  certificate.validity.notBefore = new Date(Date.now() - DAY_MS);
  certificate.validity.notAfter = new Date(Date.now() + days * DAY_MS);
  return certificate;
}
