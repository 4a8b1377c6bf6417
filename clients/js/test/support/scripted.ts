// A server that answers as a test says, for what the real one cannot be made to do on demand.

import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

export interface Asked {
  method: string;
  url: string;
  headers: IncomingMessage['headers'];
  body: string;
  at: number;
}

export class Scripted {
  readonly asked: Asked[] = [];
  readonly streams: ServerResponse[] = [];
  url = '';
  #server: Server;

  private constructor(answer: (asked: Asked, response: ServerResponse, number: number) => void) {
    this.#server = createServer((request, response) => {
      let body = '';
      request.setEncoding('utf8').on('data', (more: string) => (body += more));
      request.on('end', () => {
        const { method, url, headers } = request;
        const asked = { method: method!, url: url!, headers, body, at: Date.now() };
        this.asked.push(asked);
        answer(asked, response, this.asked.length);
      });
    });
  }

  /** `answer` gets each request with its number, from 1. */
  static async start(answer: (asked: Asked, response: ServerResponse, number: number) => void): Promise<Scripted> {
    const it = new Scripted(answer);
    await new Promise<void>((ready) => it.#server.listen(0, '127.0.0.1', ready));
    it.url = `http://127.0.0.1:${(it.#server.address() as AddressInfo).port}/events`;
    return it;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }

  async stop(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((closed) => this.#server.close(closed));
  }
}

/** Begins a stream with these blocks, and leaves it open. */
export function stream(response: ServerResponse, ...blocks: string[]): ServerResponse {
  response.writeHead(200, { 'content-type': 'text/event-stream' });
  response.flushHeaders();
  for (const block of blocks) response.write(block + '\n\n');
  return response;
}

export const connected = (client: string, more: object = {}, id = '1-0') =>
  `retry: 5\nevent: connected\ndata: ${JSON.stringify({ client, user: null, session: null, topics: [], resumed: false, missed: 0, ...more })}\nid: ${id}`;

export const event = (id: string, data: unknown, type = 'message:new') =>
  `event: ${type}\ndata: ${JSON.stringify(data)}\nid: ${id}`;
