// TLS for bootstrap connections between hosts: who this node is, and whom it believes.
//
// Invariant: both ends prove that their certificate was signed by the cluster's own authority before a byte of the
// handshake behind TLS is read; only TLS 1.3 is spoken, and no authority of the system counts. Names and addresses in
// certificates decide nothing: nodes move, and every certificate of the cluster is believed alike. The secret
// is still required.
import { createPrivateKey, X509Certificate } from 'node:crypto';
import { readFileSync, statSync } from 'node:fs';
import type net from 'node:net';
import { join } from 'node:path';
import type tls from 'node:tls';
import { RdmaError } from '../core/errors.js';
import { checkString, invalidArgument } from '../core/validate.js';
import { SOCKET_OPTIONS } from './settings.js';
import type { SocketAddress } from './socket-error.js';

/** Names of the files of a node. */
export const TLS_FILES = { ca: 'ca.pem', certificate: 'node.pem', key: 'node-key.pem' } as const;
const VERSION = { minVersion: 'TLSv1.3', maxVersion: 'TLSv1.3' } as const;
/** Rights of others than the owner. */
const OTHERS = 0o077;
const MAX_PEM_BYTES = 65_536;

// Most processes never need it, and loading it takes time.
const loadTls = (): typeof tls => require('node:tls') as typeof tls;

/** What a node proves itself by, as PEM. */
export interface TlsMaterial {
  /** Certificate of the cluster's authority. */
  readonly ca: string;
  /** Certificate of the node, signed by that. */
  readonly certificate: string;
  /** Its private key. */
  readonly key: string;
}

export class TlsIdentity {
  private readonly authority: X509Certificate;
  private readonly context: tls.SecureContext;
  private readonly ca: string;

  /**
   * Checks what a node proves itself by.
   *
   * @throws RdmaError RDMA_ERR_INVALID_ARGUMENT when it is not PEM, or key, certificate and authority do not belong
   *   together; RDMA_ERR_UNAUTHENTICATED when the certificate is not valid now
   */
  constructor(material: TlsMaterial) {
    const { ca, certificate, key } = material;
    this.authority = readCertificate('ca', ca);
    const own = readCertificate('certificate', certificate);
    if (!this.isSigned(own)) {
      throw invalidArgument('certificate', own.subject, 'one that the authority in `ca` has signed');
    }
    const problem = datesOf(own) ?? datesOf(this.authority);
    if (problem !== undefined) {
      throw new RdmaError('RDMA_ERR_UNAUTHENTICATED', `the certificate of this node ${problem}`, {
        remedy: 'see the clock of this host, or make a new one: onepiece cluster certify',
      });
    }
    checkString('key', key, { minLength: 1, maxLength: MAX_PEM_BYTES });
    let isPair: boolean;
    try {
      isPair = own.checkPrivateKey(createPrivateKey(key));
    } catch {
      throw invalidArgument('key', '(hidden)', 'a private key as PEM');
    }
    if (!isPair) throw invalidArgument('key', '(hidden)', 'the private key of the certificate');
    this.ca = ca;
    this.context = loadTls().createSecureContext({ ca, cert: certificate, key, ...VERSION });
  }

  /**
   * Reads the files of a node: `ca.pem`, `node.pem`, `node-key.pem`.
   *
   * @param directory as `onepiece cluster init` has made it
   * @throws RdmaError RDMA_ERR_INVALID_ARGUMENT naming the file that is missing, that others may read, or that is
   *   wrong; as the constructor
   */
  static read(directory: string): TlsIdentity {
    checkString('the TLS directory', directory, { minLength: 1, maxLength: 4096 });
    const [ca, certificate, key] = (['ca', 'certificate', 'key'] as const).map((name) => {
      const file = join(directory, TLS_FILES[name]);
      try {
        if (name === 'key' && (statSync(file).mode & OTHERS) !== 0) {
          throw new RdmaError('RDMA_ERR_INVALID_ARGUMENT', `others may read ${file}`, { remedy: `chmod 600 ${file}` });
        }
        return readFileSync(file, 'utf8');
      } catch (error) {
        if (error instanceof RdmaError) throw error;
        throw new RdmaError('RDMA_ERR_INVALID_ARGUMENT', `${file} cannot be read: ${(error as Error).message}`, {
          remedy: 'copy the folder of this node that onepiece cluster init has made',
        });
      }
    }) as [string, string, string];
    return new TlsIdentity({ ca, certificate, key });
  }

  /** The server's side of a connection that was just accepted. It emits `secure`; ask check() then. */
  accept(socket: net.Socket): tls.TLSSocket {
    return new (loadTls().TLSSocket)(socket, {
      isServer: true,
      secureContext: this.context,
      requestCert: true,
      // Node.js leaves the decision to whoever has made the socket: see check().
      rejectUnauthorized: false,
    });
  }

  /**
   * Whether the client of an accepted connection, whose TLS handshake is over, belongs to the cluster; else why not.
   */
  check(socket: tls.TLSSocket): RdmaError | undefined {
    const certificate = socket.getPeerX509Certificate();
    if (certificate === undefined) return refusedClient('it has no certificate');
    if (!this.isSigned(certificate)) return refusedClient('its certificate is not of this cluster');
    const problem = datesOf(certificate);
    return problem === undefined ? undefined : refusedClient(`its certificate ${problem}`);
  }

  /** The client's side: connects, and emits `secureConnect` when the server belongs to the cluster. */
  connect({ host, port }: SocketAddress): tls.TLSSocket {
    return loadTls().connect({
      host,
      port,
      ...SOCKET_OPTIONS,
      ca: this.ca,
      secureContext: this.context,
      ...VERSION,
      rejectUnauthorized: true,
      checkServerIdentity: () => undefined,
    });
  }

  // Directly: there are no authorities between.
  private isSigned(certificate: X509Certificate): boolean {
    try {
      return !certificate.ca && certificate.checkIssued(this.authority) && certificate.verify(this.authority.publicKey);
    } catch {
      return false;
    }
  }
}

/** The option `tls`. @throws RdmaError RDMA_ERR_INVALID_ARGUMENT */
export function checkTls(tls: unknown): TlsIdentity | undefined {
  if (tls === undefined || tls instanceof TlsIdentity) return tls;
  throw invalidArgument('tls', tls, 'a TlsIdentity');
}

function readCertificate(name: string, pem: unknown): X509Certificate {
  const text = checkString(name, pem, { minLength: 1, maxLength: MAX_PEM_BYTES });
  try {
    return new X509Certificate(text);
  } catch {
    throw invalidArgument(name, text.slice(0, 40), 'a certificate as PEM');
  }
}

// Why a certificate is not valid now; undefined: it is.
function datesOf({ validFrom, validTo }: X509Certificate): string | undefined {
  const now = Date.now();
  if (now < Date.parse(validFrom)) return `is valid from ${validFrom} on only`;
  return now > Date.parse(validTo) ? `has expired on ${validTo}` : undefined;
}

function refusedClient(why: string): RdmaError {
  return new RdmaError('RDMA_ERR_UNAUTHENTICATED', `a client was refused by TLS: ${why}`, {
    remedy: 'give that node a certificate of this cluster: onepiece cluster certify',
  });
}

/** Codes by which OpenSSL says that a certificate is not believed. */
const UNTRUSTED =
  /^(SELF_SIGNED_CERT_IN_CHAIN|DEPTH_ZERO_SELF_SIGNED_CERT|UNABLE_TO_\w+|CERT_\w+|INVALID_CA|INVALID_PURPOSE)$/;
const ALERT = /^ERR_SSL_TLSV?1\d?_ALERT_|^ERR_SSL_TLSV13_ALERT_|_ALERT_(BAD_CERTIFICATE|CERTIFICATE_\w+|UNKNOWN_CA)$/;

/**
 * What went wrong in TLS, as a client sees it.
 *
 * @returns undefined when it had nothing to do with TLS
 */
export function tlsFailure(error: Error, { host, port }: SocketAddress): RdmaError | undefined {
  const { code = '', message } = error as NodeJS.ErrnoException;
  if (UNTRUSTED.test(code)) {
    return new RdmaError('RDMA_ERR_UNAUTHENTICATED', `${host}:${port} does not belong to this cluster: ${message}`, {
      remedy: 'give both nodes certificates of one cluster: onepiece cluster init',
      cause: error,
    });
  }
  if (ALERT.test(code)) {
    return new RdmaError('RDMA_ERR_UNAUTHENTICATED', `${host}:${port} does not accept the certificate of this node`, {
      remedy: 'give both nodes certificates of one cluster: onepiece cluster init',
      cause: error,
    });
  }
  if (!code.startsWith('ERR_SSL') && code !== 'EPROTO') return undefined;
  return new RdmaError('RDMA_ERR_HANDSHAKE', `${host}:${port} does not speak TLS 1.3`, {
    remedy: 'start all nodes of the cluster with --tls-dir, or none',
    cause: error,
  });
}
