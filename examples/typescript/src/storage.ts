/** The guide's functions, made right: one client, streams instead of whole buffers, typed errors. */

import { randomUUID } from 'node:crypto';
import { createReadStream, createWriteStream } from 'node:fs';
import { mkdir, readFile, rename, rm, stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';

import {
  GetObjectCommand,
  HeadObjectCommand,
  ListObjectsV2Command,
  PutObjectCommand,
  S3Client,
  type GetObjectCommandOutput,
  type HeadObjectCommandOutput,
  type PutObjectCommandInput,
} from '@aws-sdk/client-s3';
import { Upload } from '@aws-sdk/lib-storage';
import { getSignedUrl } from '@aws-sdk/s3-request-presigner';

import { contentTypeOf } from './content-types.js';
import { S3IntegrityError, S3TooLargeError, storageError, type S3ErrorFields } from './errors.js';
import { settingsFromEnvironment, type StorageSettings } from './settings.js';

const MIB = 1024 * 1024;

export interface WriteOptions {
  /** User metadata; ASCII names and values. */
  readonly metadata?: Readonly<Record<string, string>>;
  readonly tags?: Readonly<Record<string, string>>;
  /** Taken from the key's extension when absent. */
  readonly contentType?: string;
  /** Create only: fails with `S3PreconditionFailedError` when the key exists. */
  readonly ifNoneMatch?: boolean;
  readonly signal?: AbortSignal;
}

export interface UploadFileOptions extends WriteOptions {
  /** Bytes; at least 5 MiB, default 8 MiB. Larger files are sent in parts. */
  readonly partSize?: number;
  /** Parts in flight, default 4; memory is `concurrency * partSize`. */
  readonly concurrency?: number;
  readonly onProgress?: (sent: number, total: number) => void;
}

export interface StoredObject {
  readonly key: string;
  readonly size: number;
  readonly etag: string;
  readonly lastModified: Date;
}

type Where = Pick<S3ErrorFields, 'operation' | 'bucket' | 'key'>;

/** One pooled client and the calls on it; `close()` it at the end of the process. */
export class Storage {
  readonly client: S3Client;

  constructor(readonly settings: StorageSettings = settingsFromEnvironment()) {
    this.client = new S3Client({
      region: settings.region,
      maxAttempts: settings.maxAttempts,
      retryMode: 'adaptive',
      requestHandler: {
        connectionTimeout: 5_000,
        socketTimeout: 60_000,
        httpAgent: { maxSockets: settings.maxPoolConnections },
        httpsAgent: { maxSockets: settings.maxPoolConnections },
      },
      ...(settings.endpoint === undefined ? {} : { endpoint: settings.endpoint, forcePathStyle: true }),
    });
  }

  close(): void {
    this.client.destroy();
  }

  /** Stores the file at *path*, in parts above one part's size; a failure or abort leaves no open upload. */
  async uploadFile(bucket: string, key: string, path: string, options: UploadFileOptions = {}): Promise<void> {
    const size = await stat(path).then((found) => found.size);
    const partSize = options.partSize ?? 8 * MIB;
    if (size <= partSize) {
      const body = await readFile(path);
      await this.put({ operation: 'PutObject', bucket, key }, { ...this.write(bucket, key, options), Body: body }, options);
      options.onProgress?.(size, size);
      return;
    }
    await this.uploadStream(bucket, key, createReadStream(path, { highWaterMark: MIB }), { ...options, partSize }, size);
  }

  /** Stores *source*, of any length, in parts; memory stays at `concurrency * partSize` bytes. */
  async uploadStream(
    bucket: string,
    key: string,
    source: Readable,
    options: UploadFileOptions = {},
    total = Number.NaN,
  ): Promise<void> {
    const upload = new Upload({
      client: this.client,
      // One checksum over the whole object, which every reader can check, not one over the parts' checksums.
      params: { ...this.write(bucket, key, options), Body: source, ChecksumType: 'FULL_OBJECT' } as PutObjectCommandInput,
      partSize: options.partSize ?? 8 * MIB,
      queueSize: options.concurrency ?? 4,
      leavePartsOnError: false,
    });
    upload.on('httpUploadProgress', (progress) => options.onProgress?.(progress.loaded ?? 0, total));
    // Upload.abort() answers before its parts in flight ended: one of them may outlive the aborted upload. A source
    // that fails makes it wait for them and abort then.
    const abort = (): void => void source.destroy(options.signal?.reason as Error);
    options.signal?.addEventListener('abort', abort, { once: true });
    try {
      options.signal?.throwIfAborted();
      await guarded({ operation: 'CompleteMultipartUpload', bucket, key }, () => upload.done());
    } finally {
      options.signal?.removeEventListener('abort', abort);
      source.destroy();
    }
  }

  /** Writes the object to *path*: all of it and verified, or not at all; an existing file stays until then. */
  async downloadFile(bucket: string, key: string, path: string, signal?: AbortSignal): Promise<void> {
    await mkdir(dirname(path), { recursive: true });
    const partial = `${path}.${randomUUID()}.part`;
    const where = { operation: 'GetObject', bucket, key };
    try {
      await guarded(where, async () => {
        const reply = await this.get(bucket, key, signal);
        const file = createWriteStream(partial, { mode: 0o600, flags: 'wx', flush: true });
        await pipeline(reply.Body as Readable, file, { signal });
        if (file.bytesWritten !== reply.ContentLength) {
          throw new S3IntegrityError(`got ${file.bytesWritten} of ${reply.ContentLength} bytes. Read it again.`, where);
        }
      });
      await rename(partial, path);
    } catch (error) {
      await rm(partial, { force: true });
      throw error;
    }
  }

  /** The whole object in memory, at most *maxSize* bytes (default 64 MiB); the guide's `safeGetObject`. */
  async getObject(bucket: string, key: string, maxSize = 64 * MIB, signal?: AbortSignal): Promise<Buffer> {
    const where = { operation: 'GetObject', bucket, key };
    return guarded(where, async () => {
      const reply = await this.get(bucket, key, signal);
      if ((reply.ContentLength ?? 0) > maxSize) {
        (reply.Body as Readable).destroy();
        throw new S3TooLargeError(
          `s3://${bucket}/${key} has ${reply.ContentLength} bytes, the limit is ${maxSize}. Raise it, or use downloadFile.`,
          where,
        );
      }
      return Buffer.from(await (reply.Body as NonNullable<GetObjectCommandOutput['Body']>).transformToByteArray());
    });
  }

  async uploadJson(bucket: string, key: string, value: unknown, options: WriteOptions = {}): Promise<void> {
    const body = JSON.stringify(value);
    if (body === undefined) throw new TypeError(`${typeof value} has no JSON form; pass an object, array or scalar.`);
    const input = { ...this.write(bucket, key, { contentType: 'application/json', ...options }), Body: body };
    await this.put({ operation: 'PutObject', bucket, key }, input, options);
  }

  async downloadJson<T = unknown>(bucket: string, key: string): Promise<T> {
    return JSON.parse((await this.getObject(bucket, key)).toString('utf8')) as T;
  }

  async head(bucket: string, key: string): Promise<HeadObjectCommandOutput> {
    const command = new HeadObjectCommand({ Bucket: bucket, Key: key, ChecksumMode: 'ENABLED' });
    return guarded({ operation: 'HeadObject', bucket, key }, () => this.client.send(command));
  }

  /** Every object below *prefix*, one page in memory; keys are decoded, whatever characters they hold. */
  async *listObjects(bucket: string, prefix = '', pageSize = 1000): AsyncGenerator<StoredObject, void, undefined> {
    const where = { operation: 'ListObjectsV2', bucket, key: undefined };
    let token: string | undefined;
    do {
      const command = new ListObjectsV2Command({
        Bucket: bucket,
        Prefix: prefix,
        MaxKeys: pageSize,
        EncodingType: 'url',
        ContinuationToken: token,
      });
      const page = await guarded(where, () => this.client.send(command));
      for (const found of page.Contents ?? []) {
        yield {
          key: decodeURIComponent((found.Key ?? '').replaceAll('+', ' ')),
          size: found.Size ?? 0,
          etag: found.ETag ?? '',
          lastModified: found.LastModified ?? new Date(Number.NaN),
        };
      }
      // A store that repeats its token would list for ever.
      token = page.NextContinuationToken === token ? undefined : page.NextContinuationToken;
    } while (token !== undefined);
  }

  /** A link that stores one object by PUT; *contentType* is signed, so the request must send exactly it. */
  async uploadUrl(bucket: string, key: string, contentType: string, expiresIn = 3600): Promise<string> {
    if (!(expiresIn >= 1 && expiresIn <= 604_800)) {
      throw new RangeError(`expiresIn=${expiresIn} is not within 1 to 604800 seconds (7 days); pass a shorter time.`);
    }
    const command = new PutObjectCommand({ Bucket: bucket, Key: key, ContentType: contentType });
    return getSignedUrl(this.client, command, { expiresIn, signableHeaders: new Set(['content-type', 'host']) });
  }

  private get(bucket: string, key: string, signal?: AbortSignal): Promise<GetObjectCommandOutput> {
    const command = new GetObjectCommand({ Bucket: bucket, Key: key, ChecksumMode: 'ENABLED' });
    return this.client.send(command, signal ? { abortSignal: signal } : {});
  }

  private async put(where: Where, input: PutObjectCommandInput, { signal }: WriteOptions): Promise<void> {
    await guarded(where, () => this.client.send(new PutObjectCommand(input), signal ? { abortSignal: signal } : {}));
  }

  /** What every write sends: type, metadata, tags, checksum, encryption and condition. */
  private write(bucket: string, key: string, options: WriteOptions): PutObjectCommandInput {
    const { encryption, kmsKeyId } = this.settings;
    return {
      Bucket: bucket,
      Key: key,
      ContentType: options.contentType ?? contentTypeOf(key),
      // Node computes it natively, and lib-storage completes uploads with it; it would drop a part's CRC64NVME.
      ChecksumAlgorithm: 'CRC32',
      ...(options.metadata ? { Metadata: { ...options.metadata } } : {}),
      ...(options.tags ? { Tagging: new URLSearchParams(options.tags).toString() } : {}),
      ...(options.ifNoneMatch ? { IfNoneMatch: '*' } : {}),
      ...(encryption === 'none' ? {} : { ServerSideEncryption: encryption }),
      ...(encryption === 'aws:kms' ? { SSEKMSKeyId: kmsKeyId } : {}),
    };
  }
}

async function guarded<T>(where: Where, call: () => Promise<T>): Promise<T> {
  try {
    return await call();
  } catch (error) {
    throw storageError(error, where);
  }
}
