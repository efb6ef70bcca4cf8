// The outputs of a place as they are sent: composed once for each device, kept until they are acknowledged.
//
// Invariant: an output goes to all its targets or, as long as there is no memory for it, to none. Its blocks go over to
// a custody with the first message; when it cannot be sent they are given back, as soon as nobody reads them any more.
import type { Block } from '../ring/index.js';
import type { Attachment } from './attachment.js';
import type { PartToSend } from './body.js';
import { compose, copiedParts, NO_MEMORY } from './compose.js';
import { Custody, type Held } from './custody.js';
import { type Envelope, writeEnvelope } from './envelope.js';
import type { Links } from './links.js';
import type { PipelinePort } from './port.js';
import { Scratch } from './scratch.js';

/** An output, checked and measured, before it is sent. */
export interface Outgoing {
  readonly parts: readonly PartToSend[];
  readonly meta: Uint8Array;
  readonly trace: Uint8Array;
  /** Of all tensors. */
  readonly bytes: number;
}

const NO_BLOCKS: readonly Block[] = [];

export class Transmitter {
  private readonly port: PipelinePort;
  private readonly attachments: readonly Attachment[];
  private readonly links: Links;
  private readonly inlineBytes: number;
  private readonly flaw: string | undefined;
  private readonly scratch: Scratch;

  /**
   * @param attachments one for each device, the one with the memory for outputs first
   * @param inlineBytes the longest message that goes through a lane
   */
  constructor(
    port: PipelinePort,
    attachments: readonly Attachment[],
    links: Links,
    inlineBytes: number,
    flaw: string | undefined,
  ) {
    this.port = port;
    this.attachments = attachments;
    this.links = links;
    this.inlineBytes = inlineBytes;
    this.flaw = flaw;
    this.scratch = new Scratch(inlineBytes);
  }

  /** As Place.transmit. */
  transmit(
    envelope: Envelope,
    output: Outgoing,
    targets: readonly string[],
    blocks: readonly Held[],
    onSettled: (() => void) | Custody,
  ): boolean {
    // Where there is one device, or all go by the first.
    if (this.attachments.length > 1) {
      const by = this.links.attachmentsOf(targets);
      if (by.some((each) => each !== this.attachments[0])) {
        return this.transmitBy(by, envelope, output, targets, blocks, onSettled);
      }
    }
    let length: number;
    try {
      length = this.compose(this.attachments[0]!, envelope, output, output.parts);
    } catch (error) {
      for (const block of blocks) block.release();
      throw error;
    }
    if (length === NO_MEMORY) return false;
    const block = envelope.block as Block | undefined;
    let kept = block === undefined ? blocks : blocks.length === 0 ? [block] : [...blocks, block];
    const made = kept;
    if (this.flaw === 'early-release') kept = NO_BLOCKS;
    const isOfStream = onSettled instanceof Custody;
    const custody = isOfStream ? onSettled : new Custody(kept, onSettled);
    if (isOfStream) custody.keep(kept);
    const message = this.scratch.first(length);
    try {
      for (let i = 0; i < targets.length; i++) this.links.send(targets[i]!, message, custody, envelope.sentAtUs);
    } catch (error) {
      if (!isOfStream) custody.fail();
      throw error;
    }
    if (!isOfStream) custody.allSent();
    if (this.flaw === 'early-release') for (const block of made) block.release();
    return true;
  }

  private compose(by: Attachment, envelope: Envelope, output: Outgoing, parts: readonly PartToSend[]): number {
    const { meta, trace } = output;
    const length = compose(this.scratch, this.inlineBytes, by.pool, envelope, trace, parts, meta);
    if (length === NO_MEMORY) return NO_MEMORY;
    envelope.sentAtUs = this.port.nowUs();
    envelope.host = this.port.host;
    writeEnvelope(this.scratch.view, envelope);
    return length;
  }

  // By several devices, or another one than the first: each has a copy in its own memory.
  private transmitBy(
    by: readonly Attachment[],
    envelope: Envelope,
    output: Outgoing,
    targets: readonly string[],
    blocks: readonly Held[],
    onSettled: (() => void) | Custody,
  ): boolean {
    const made: Block[] = [];
    const messages: { by: Attachment; bytes: Uint8Array }[] = [];
    try {
      for (const each of by) {
        const parts = each === this.attachments[0] ? output.parts : copiedParts(output.parts);
        const length = this.compose(each, envelope, output, parts);
        if (length === NO_MEMORY) {
          for (const block of made) block.release();
          return false;
        }
        if (envelope.block !== undefined) made.push(envelope.block as Block);
        messages.push({ by: each, bytes: this.scratch.bytes.slice(0, length) });
      }
    } catch (error) {
      for (const block of [...made, ...blocks]) block.release();
      throw error;
    }
    const isOfStream = onSettled instanceof Custody;
    const custody = isOfStream ? onSettled : new Custody([...blocks, ...made], onSettled);
    if (isOfStream) custody.keep([...blocks, ...made]);
    try {
      for (const target of targets) {
        // One that was given up takes nothing, whatever is sent.
        const { bytes } = messages.find((message) => this.links.goesBy(target, message.by)) ?? messages[0]!;
        this.links.send(target, bytes, custody, envelope.sentAtUs);
      }
    } catch (error) {
      if (!isOfStream) custody.fail();
      throw error;
    }
    if (!isOfStream) custody.allSent();
    return true;
  }
}
