// The library that signs certificates, which only `onepiece cluster` needs. The only file that loads it.
//
// Invariant: nothing is loaded until a certificate is made.
import { RdmaError } from '../core/errors.js';

/** A certificate that is being made; what of node-forge is used. */
export interface ForgeCertificate {
  publicKey: unknown;
  serialNumber: string;
  validity: { notBefore: Date; notAfter: Date };
  readonly subject: { readonly attributes: readonly object[] };
  setSubject(attributes: readonly object[]): void;
  setIssuer(attributes: readonly object[]): void;
  setExtensions(extensions: readonly object[]): void;
  sign(key: unknown, digest: unknown): void;
}

export interface Forge {
  readonly pki: {
    createCertificate(): ForgeCertificate;
    certificateFromPem(pem: string): ForgeCertificate;
    certificateToPem(certificate: ForgeCertificate): string;
    publicKeyFromPem(pem: string): unknown;
    privateKeyFromPem(pem: string): unknown;
  };
  readonly md: { readonly sha256: { create(): unknown } };
}

/** @throws RdmaError RDMA_ERR_NOT_SUPPORTED with the install command when it is missing */
export function loadForge(): Forge {
  try {
    return require('node-forge') as Forge;
  } catch (cause) {
    throw new RdmaError('RDMA_ERR_NOT_SUPPORTED', 'certificates are made by node-forge, which is not installed', {
      remedy: 'npm install node-forge',
      cause,
    });
  }
}
