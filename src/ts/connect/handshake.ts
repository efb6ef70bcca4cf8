// Invariant: neither side gets a Session before the other has proved, over fresh nonces of both and over every byte
// said, that it knows the secret. These are pure state machines: they know no socket and no clock.

import { RdmaError } from '../core/errors.js';
import { computeProof, deriveSessionKeys, freshNonce, sameBytes } from './credentials.js';
import { encodePlainFrame, type Frame, FrameType } from './frame.js';
import {
  decodeAccept,
  decodeChallenge,
  decodeHello,
  decodeProof,
  decodeRefuse,
  encodeAccept,
  encodeChallenge,
  encodeHello,
  encodeRefuse,
  encodeText,
  type Hello,
  type VersionRange,
} from './handshake-messages.js';
import { Session } from './session.js';

/** The versions of the conversation that this library speaks; in version 1 the secret itself was the key of proofs. */
export const SPOKEN_VERSIONS: VersionRange = { min: 2, max: 2 };

/** What a side brings to a handshake. */
export interface HandshakeOptions {
  readonly secret: Uint8Array;
  readonly service: string;
  readonly name: string;
  readonly versions?: VersionRange;
}

/** What a step of a handshake asks for: bytes to send, and the session when the handshake is complete. */
export interface HandshakeStep {
  readonly send?: Buffer;
  readonly session?: Session;
}

/** The connecting side. */
export class ClientHandshake {
  readonly #secret: Uint8Array;
  readonly #versions: VersionRange;
  readonly #nonce = freshNonce();
  readonly #transcript: Uint8Array[] = [];
  /** The frame that opens the conversation; send it first. */
  readonly hello: Buffer;
  #awaiting: 'CHALLENGE' | 'ACCEPT' | 'nothing' = 'CHALLENGE';
  #serverNonce: Uint8Array = this.#nonce;
  #version = 0;

  constructor(options: HandshakeOptions) {
    const { secret, service, name, versions = SPOKEN_VERSIONS } = options;
    this.#secret = secret;
    this.#versions = versions;
    this.hello = encodePlainFrame(FrameType.HELLO, encodeHello({ versions, nonce: this.#nonce, service, name }));
    this.#transcript.push(this.hello);
  }

  /**
   * Takes the server's next frame.
   *
   * @throws RDMA_ERR_UNAUTHENTICATED, RDMA_ERR_VERSION, RDMA_ERR_REFUSED, RDMA_ERR_BUSY or RDMA_ERR_PROTOCOL; the
   * connection is then of no more use
   */
  onFrame(frame: Frame): HandshakeStep {
    if (frame.type === FrameType.REFUSE && frame.tag === undefined) throw this.#refusal(frame);
    const awaited = this.#awaiting;
    this.#awaiting = 'nothing';
    if (awaited === 'nothing') throw outOfTurn(frame, awaited);
    expectFrame(frame, awaited);
    return awaited === 'CHALLENGE' ? this.#onChallenge(frame) : this.#onAccept(frame);
  }

  #onChallenge(frame: Frame): HandshakeStep {
    const { version, nonce } = decodeChallenge(frame.body);
    if (version < this.#versions.min || version > this.#versions.max) {
      throw versionError(`the server chose version ${version}, this client speaks ${words(this.#versions)}`);
    }
    if (sameBytes(nonce, this.#nonce)) {
      throw new RdmaError('RDMA_ERR_UNAUTHENTICATED', 'the server sent back the nonce of this client');
    }
    this.#transcript.push(wholeFrame(frame));
    this.#serverNonce = nonce;
    this.#version = version;
    const send = encodePlainFrame(FrameType.PROOF, computeProof(this.#secret, 'client', this.#transcript));
    this.#transcript.push(send);
    this.#awaiting = 'ACCEPT';
    return { send };
  }

  #onAccept(frame: Frame): HandshakeStep {
    const { name, proof } = decodeAccept(frame.body);
    const transcript = [...this.#transcript, encodeText(name)];
    if (!sameBytes(proof, computeProof(this.#secret, 'server', transcript))) throw unauthenticated('server');
    const keys = deriveSessionKeys(this.#secret, this.#nonce, this.#serverNonce, transcript);
    return { session: new Session('client', keys, name, this.#version) };
  }

  #refusal(frame: Frame): RdmaError {
    const { code, words: said } = decodeRefuse(frame.body);
    const quoted = said === '' ? '' : `; it says: ${said}`;
    if (code === 'unauthenticated') return unauthenticated('client');
    if (code === 'version') return versionError(`this client speaks ${words(this.#versions)}${quoted}`);
    if (code === 'busy') {
      return new RdmaError('RDMA_ERR_BUSY', `the server takes no more peers${quoted}`, {
        remedy: 'try again later, or raise maxPeers at the server',
      });
    }
    return new RdmaError('RDMA_ERR_REFUSED', `the server refused the connection${quoted}`);
  }
}

/** The listening side. */
export class ServerHandshake {
  readonly #options: HandshakeOptions;
  readonly #versions: VersionRange;
  readonly #nonce = freshNonce();
  readonly #transcript: Uint8Array[] = [];
  #awaiting: 'HELLO' | 'PROOF' | 'nothing' = 'HELLO';
  #hello: Hello | undefined;
  #version = 0;

  constructor(options: HandshakeOptions) {
    this.#options = options;
    this.#versions = options.versions ?? SPOKEN_VERSIONS;
  }

  /**
   * Takes the client's next frame.
   *
   * @param admit called once the client is authenticated; an error that it returns still refuses the client
   * @throws RDMA_ERR_UNAUTHENTICATED, RDMA_ERR_VERSION, RDMA_ERR_REFUSED, RDMA_ERR_PROTOCOL, or what `admit` returned;
   * send `refusal(error)` and end the connection
   */
  onFrame(frame: Frame, admit: () => RdmaError | undefined = () => undefined): HandshakeStep {
    const awaited = this.#awaiting;
    this.#awaiting = 'nothing';
    if (awaited === 'nothing') throw outOfTurn(frame, awaited);
    expectFrame(frame, awaited);
    return awaited === 'HELLO' ? this.#onHello(frame) : this.#onProof(frame, admit);
  }

  #onHello(frame: Frame): HandshakeStep {
    const hello = decodeHello(frame.body);
    const version = Math.min(hello.versions.max, this.#versions.max);
    if (version < hello.versions.min || version < this.#versions.min) {
      throw versionError(`the client speaks ${words(hello.versions)}, the server ${words(this.#versions)}`);
    }
    this.#hello = hello;
    this.#version = version;
    const send = encodePlainFrame(FrameType.CHALLENGE, encodeChallenge({ version, nonce: this.#nonce }));
    this.#transcript.push(wholeFrame(frame), send);
    this.#awaiting = 'PROOF';
    return { send };
  }

  #onProof(frame: Frame, admit: () => RdmaError | undefined): HandshakeStep {
    const { secret, service, name } = this.#options;
    const hello = this.#hello;
    const proof = decodeProof(frame.body);
    if (hello === undefined || !sameBytes(proof, computeProof(secret, 'client', this.#transcript))) {
      throw unauthenticated('client');
    }
    // Only an authenticated client learns which service this is, or that the server is full.
    if (hello.service !== service) {
      throw new RdmaError('RDMA_ERR_REFUSED', `the client asked for service ${hello.service}, this is ${service}`);
    }
    const refused = admit();
    if (refused !== undefined) throw refused;
    const transcript = [...this.#transcript, wholeFrame(frame), encodeText(name)];
    const accept = encodeAccept({ name, proof: computeProof(secret, 'server', transcript) });
    const keys = deriveSessionKeys(secret, hello.nonce, this.#nonce, transcript);
    const session = new Session('server', keys, hello.name, this.#version);
    return { send: encodePlainFrame(FrameType.ACCEPT, accept), session };
  }

  /**
   * Makes the frame that tells the client why it was refused, in as few words as it is entitled to.
   *
   * @param error what `onFrame`, or the parser, threw
   * @returns a whole frame, or undefined when nothing is said because the client does not speak the protocol
   */
  refusal(error: RdmaError): Buffer | undefined {
    const said: Record<string, { code: string; words: string }> = {
      RDMA_ERR_UNAUTHENTICATED: { code: 'unauthenticated', words: '' },
      RDMA_ERR_VERSION: { code: 'version', words: `the server speaks ${words(this.#versions)}` },
      RDMA_ERR_REFUSED: { code: 'refused', words: 'this is another service' },
      RDMA_ERR_BUSY: { code: 'busy', words: '' },
    };
    const refuse = said[error.code];
    return refuse === undefined ? undefined : encodePlainFrame(FrameType.REFUSE, encodeRefuse(refuse));
  }
}

function wholeFrame(frame: Frame): Buffer {
  return Buffer.concat([frame.header, frame.body]);
}

function expectFrame(frame: Frame, awaited: 'HELLO' | 'CHALLENGE' | 'PROOF' | 'ACCEPT'): void {
  if (frame.type !== FrameType[awaited] || frame.tag !== undefined) throw outOfTurn(frame, awaited);
}

function outOfTurn(frame: Frame, awaited: string): RdmaError {
  return new RdmaError('RDMA_ERR_PROTOCOL', `a frame of type ${frame.type} came where ${awaited} was due`);
}

function unauthenticated(who: 'client' | 'server'): RdmaError {
  return new RdmaError('RDMA_ERR_UNAUTHENTICATED', `the ${who} did not prove that it knows the secret`, {
    remedy: 'give both sides the same secret',
  });
}

function versionError(message: string): RdmaError {
  return new RdmaError('RDMA_ERR_VERSION', message, {
    remedy: 'run the same major version of this library on both sides',
  });
}

function words(versions: VersionRange): string {
  return versions.min === versions.max
    ? `bootstrap version ${versions.min}`
    : `bootstrap versions ${versions.min} to ${versions.max}`;
}
