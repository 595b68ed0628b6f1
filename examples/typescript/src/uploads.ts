/** Uploads through the platform's API: it signs, the bytes go straight to the store, it confirms. */

import { createHash } from 'node:crypto';
import { open, stat, type FileHandle } from 'node:fs/promises';
import { basename } from 'node:path';

import { contentTypeOf } from './content-types.js';

export interface ConfirmedUpload {
  /** Below the tenant's part of the landing zone. */
  readonly key: string;
  readonly filename: string;
  readonly size: number;
  readonly content_type: string;
  readonly etag: string;
  /** Whether the service compared the stored bytes with the SHA-256 computed here. */
  readonly verified: boolean;
}

export interface UploadOptions {
  readonly contentType?: string;
  /** Parts in flight, default 4; memory is `concurrency * part size`. */
  readonly concurrency?: number;
  readonly onProgress?: (sent: number, total: number) => void;
  readonly signal?: AbortSignal;
}

interface PostUpload {
  readonly method: 'post';
  readonly upload: string;
  readonly url: string;
  readonly fields: Readonly<Record<string, string>>;
}

interface PartsUpload {
  readonly method: 'multipart';
  readonly upload: string;
  readonly part_size: number;
  readonly parts: number;
}

/** What the service answers instead of a result: RFC 9457 problem details. */
export class UploadProblem extends Error {
  constructor(
    readonly status: number,
    readonly title: string,
    readonly detail: string,
  ) {
    super(`${status} ${title}: ${detail}`);
    this.name = 'UploadProblem';
  }
}

const ATTEMPTS = 4;

/** A client of the upload routes of `greenlang_async_storage.fastapi.upload_router`. */
export class UploadClient {
  /** *base* is the router's address, such as `https://api.example.com/uploads`; *headers* authenticate. */
  constructor(
    private readonly base: string,
    private readonly headers: Readonly<Record<string, string>> = {},
  ) {}

  /** Sends the file at *path* and returns what the service confirmed; a failure or abort leaves nothing open. */
  async uploadFile(path: string, options: UploadOptions = {}): Promise<ConfirmedUpload> {
    const { size } = await stat(path);
    const type = options.contentType ?? contentTypeOf(path);
    const asked = { filename: basename(path), size, content_type: type };
    const begun = await this.ask<PostUpload | PartsUpload>('', asked, options.signal);
    const file = await open(path);
    try {
      if (begun.method === 'post') return await this.post(begun, file, size, type, options);
      return await this.sendParts(begun, file, size, options);
    } catch (error) {
      if (begun.method === 'multipart') await this.abort(begun.upload);
      throw error;
    } finally {
      await file.close();
    }
  }

  private async post(begun: PostUpload, file: FileHandle, size: number, type: string, options: UploadOptions): Promise<ConfirmedUpload> {
    const bytes = await read(file, 0, size);
    await retried(options.signal, async () => {
      const form = new FormData();
      for (const [name, value] of Object.entries(begun.fields)) form.append(name, value);
      form.append('file', new Blob([bytes], { type }));
      return fetch(begun.url, { method: 'POST', body: form, signal: options.signal ?? null });
    });
    options.onProgress?.(size, size);
    return this.ask('/confirm', { upload: begun.upload, sha256: sha256(bytes) }, options.signal);
  }

  private async sendParts(begun: PartsUpload, file: FileHandle, size: number, options: UploadOptions): Promise<ConfirmedUpload> {
    const { upload, part_size: partSize, parts } = begun;
    const hashes: string[] = new Array<string>(parts).fill('');
    const group = new AbortController();
    const signal = options.signal ? AbortSignal.any([options.signal, group.signal]) : group.signal;
    let next = 1;
    let sent = 0;
    const lane = async (): Promise<void> => {
      while (next <= parts) {
        const number = next++;
        const bytes = await read(file, (number - 1) * partSize, Math.min(partSize, size - (number - 1) * partSize));
        hashes[number - 1] = sha256(bytes);
        await retried(signal, async () => {
          // Signed for each attempt: an upload that takes long outlives its signatures.
          const { urls } = await this.ask<{ urls: Record<string, string> }>('/parts', { upload, numbers: [number] }, signal);
          return fetch(urls[String(number)] ?? '', { method: 'PUT', body: bytes, signal });
        });
        sent += bytes.byteLength;
        options.onProgress?.(sent, size);
      }
    };
    const lanes = Array.from({ length: Math.min(options.concurrency ?? 4, parts) }, lane);
    try {
      await Promise.all(lanes);
    } catch (error) {
      // A part that arrives after the abort would stay stored: the others end first.
      group.abort(error);
      await Promise.allSettled(lanes);
      throw error;
    }
    await this.ask('/complete', { upload }, options.signal);
    return this.ask('/confirm', { upload, part_sha256: hashes }, options.signal);
  }

  private async abort(upload: string): Promise<void> {
    try {
      await this.ask('/abort', { upload });
    } catch {
      // What failed first is told; the service removes what stays open after a day.
    }
  }

  private async ask<T>(step: string, body: object, signal?: AbortSignal): Promise<T> {
    const reply = await retried(signal, () =>
      fetch(this.base + step, {
        method: 'POST',
        headers: { 'content-type': 'application/json', ...this.headers },
        body: JSON.stringify(body),
        signal: signal ?? null,
      }),
    );
    return (reply.status === 204 ? undefined : await reply.json()) as T;
  }
}

/** The reply to *send*, tried again when none came, when the server failed, or when it asked for patience. */
async function retried(signal: AbortSignal | undefined, send: () => Promise<Response>): Promise<Response> {
  for (let attempt = 1; ; attempt += 1) {
    let reply: Response | undefined;
    try {
      reply = await send();
    } catch (error) {
      if (signal?.aborted || error instanceof UploadProblem || attempt === ATTEMPTS) throw error;
    }
    if (reply?.ok) return reply;
    const passing = reply === undefined || reply.status >= 500 || reply.status === 429;
    if (reply !== undefined && (!passing || attempt === ATTEMPTS)) throw await problem(reply);
    await new Promise((resume) => setTimeout(resume, Math.random() * 200 * 2 ** attempt));
  }
}

async function problem(reply: Response): Promise<UploadProblem> {
  const text = await reply.text();
  try {
    const told = JSON.parse(text) as { title?: string; detail?: string };
    return new UploadProblem(reply.status, told.title ?? reply.statusText, told.detail ?? text);
  } catch {
    return new UploadProblem(reply.status, reply.statusText, /<Code>(.*?)<\/Code>/.exec(text)?.[1] ?? text.slice(0, 200));
  }
}

async function read(file: FileHandle, offset: number, length: number): Promise<Uint8Array<ArrayBuffer>> {
  const bytes = new Uint8Array(length);
  let filled = 0;
  while (filled < length) {
    const { bytesRead } = await file.read(bytes, filled, length - filled, offset + filled);
    if (bytesRead === 0) throw new Error(`the file became shorter: ${offset + filled} bytes are left of it`);
    filled += bytesRead;
  }
  return bytes;
}

function sha256(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}
