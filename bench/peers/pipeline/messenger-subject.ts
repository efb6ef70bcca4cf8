// A pipeline of a message system of Node.js: a process for each place, and one way of the system for each edge.
//
// Invariant: the processes are gone and the folder is removed when close() has ended; a process that ends before is a
// failure.
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { Partner } from '../../../src/ts/bench/kit/partner.js';
import type { Dialer, Hub, Messenger, MessengerContext } from '../messengers/messenger.js';
import { messengerOf } from '../messengers/messengers.js';
import { joinPieces } from './place.js';
import type { PlaceRequest } from './place-main.js';
import { lastOf, outputsOf, type Place, places, type Shape, SOURCE } from '../../../src/ts/bench/pipeline/shape.js';
import type { Answer, Subject } from '../../../src/ts/bench/pipeline/subject.js';

const nothing = () => {};

export class MessengerSubject implements Subject {
  private readonly messenger: Messenger;
  private readonly shape: Shape;
  private readonly sizeBytes: number;
  private readonly folder: string;
  private readonly partners: Partner[] = [];
  private readonly waiting: ((answer: Answer) => void)[] = [];
  private hub: Hub | undefined;
  private dialer: Dialer | undefined;
  private sending: Promise<unknown> = Promise.resolve();
  private failure: Error | undefined;

  private constructor(messenger: Messenger, shape: Shape, sizeBytes: number, folder: string) {
    this.messenger = messenger;
    this.shape = shape;
    this.sizeBytes = sizeBytes;
    this.folder = folder;
  }

  /**
   * @param within a folder of the caller, who removes it should this process be killed
   * @throws RdmaError RDMA_ERR_INVALID_ARGUMENT when the package is missing; RDMA_ERR_PEER_GONE; RDMA_ERR_TIMEOUT
   */
  static async open(name: string, within: string, shape: Shape, sizeBytes: number): Promise<MessengerSubject> {
    const folder = await mkdtemp(join(within, 's'));
    const subject = new MessengerSubject(messengerOf(name), shape, sizeBytes, folder);
    try {
      await subject.connectAll();
      return subject;
    } catch (error) {
      await subject.close();
      throw error;
    }
  }

  private async edge(from: string, to: string): Promise<MessengerContext> {
    const folder = join(this.folder, `${from}-${to}`);
    await mkdir(folder, { recursive: true });
    return { folder, service: '', sizeBytes: this.sizeBytes, producers: 1 };
  }

  // All listen before anyone connects: the way leads back to where it began.
  private async connectAll(): Promise<void> {
    const { messenger, shape, sizeBytes } = this;
    const all = places[shape];
    const inward = await this.edge(lastOf(shape).name, SOURCE);
    this.hub = await messenger.listen(inward, (message) => this.answered(joinPieces(message)));
    for (const _ of all) this.partners.push(new Partner(join(__dirname, 'place-main.js')));
    const tell = (make: (place: Place) => Promise<PlaceRequest>) =>
      Promise.all(all.map(async (place, i) => this.partners[i]!.ask(await make(place))));
    await tell(async ({ name, takes }) => {
      const inputs = await Promise.all(takes.map(({ from }) => this.edge(from, name)));
      return { do: 'listen', messenger: messenger.name, inputs };
    });
    await tell(async ({ name }) => {
      const outputs = await Promise.all(outputsOf(shape, name).map((to) => this.edge(name, to)));
      return { do: 'connect', messenger: messenger.name, shape, place: name, sizeBytes, outputs };
    });
    this.dialer = await messenger.dial(await this.edge(SOURCE, all[0]!.name), 0, nothing);
  }

  get failed(): Error | undefined {
    return this.failure ?? this.partners.find(({ failed }) => failed !== undefined)?.failed;
  }

  request(bytes: Uint8Array): Promise<Answer> {
    const answer = new Promise<Answer>((resolve) => this.waiting.push(resolve));
    this.sending = this.sending
      .then(() => this.dialer!.send(bytes, false))
      .catch((error) => {
        this.failure ??= error;
      });
    return answer;
  }

  // Each edge keeps the order, and each place too, so the oldest request is the one that is answered.
  private answered(bytes: Uint8Array): void {
    this.waiting.shift()?.({ bytes, release: nothing });
  }

  async close(): Promise<void> {
    await this.dialer?.close();
    await Promise.all(this.partners.map((partner) => partner.end()));
    await this.hub?.close();
    await rm(this.folder, { recursive: true, force: true });
  }
}
