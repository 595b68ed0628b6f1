/** Against a real store: run by `make test-typescript`, which starts MinIO and names the interpreter. */

import assert from 'node:assert/strict';
import { createHash, randomBytes, randomUUID } from 'node:crypto';
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { after, before, describe, test } from 'node:test';

import { GetObjectTaggingCommand, ListMultipartUploadsCommand, PutObjectCommand } from '@aws-sdk/client-s3';

import {
  S3AccessDeniedError,
  S3Error,
  S3IntegrityError,
  S3NotFoundError,
  S3PreconditionFailedError,
  S3TooLargeError,
} from '../src/errors.js';
import { settingsFromEnvironment } from '../src/settings.js';
import { Storage } from '../src/storage.js';
import { python, type PythonRead } from './python.js';

const MIB = 1024 * 1024;
const bucket = `lake-${randomUUID()}`;
const storage = new Storage();
let folder = '';

before(async () => {
  await python('create', bucket);
  folder = await mkdtemp(join(tmpdir(), 'greenlang-ts-'));
});
after(async () => {
  storage.close();
  await rm(folder, { recursive: true });
});

const sha256 = (data: Uint8Array): string => createHash('sha256').update(data).digest('hex');

async function openUploads(key: string): Promise<number> {
  const page = await storage.client.send(new ListMultipartUploadsCommand({ Bucket: bucket, Prefix: key }));
  return page.Uploads?.length ?? 0;
}

describe('what TypeScript writes, Python reads', () => {
  for (const size of [0, 1, 5 * MIB, 20 * MIB + 7]) {
    test(`a file of ${size} bytes with metadata, tags and checksum`, async () => {
      const data = randomBytes(size);
      const path = join(folder, `source-${size}.csv`);
      await writeFile(path, data);
      const metadata = { 'tenant-id': 'tenant-123', 'written-by': 'typescript' };
      const tags = { project: 'greenlang', stage: 'a b+c' };
      let sent = 0;
      await storage.uploadFile(bucket, `ts/${size}.csv`, path, {
        metadata,
        tags,
        partSize: 5 * MIB,
        onProgress: (done) => (sent = Math.max(sent, done)),
      });
      const seen = await python<PythonRead>('read', bucket, `ts/${size}.csv`);
      assert.deepEqual(seen, { size, sha256: sha256(data), metadata, contentType: 'text/csv', checksum: 'CRC32', tags });
      assert.equal(sent, size);
    });
  }

  test('a stream of unknown length, in parts', async () => {
    const pieces = Array.from({ length: 13 }, () => randomBytes(MIB));
    await storage.uploadStream(bucket, 'ts/stream.parquet', Readable.from(pieces), { partSize: 5 * MIB, concurrency: 2 });
    const seen = await python<PythonRead>('read', bucket, 'ts/stream.parquet');
    assert.equal(seen.sha256, sha256(Buffer.concat(pieces)));
    assert.equal(seen.contentType, 'application/x-parquet');
  });

  test('JSON', async () => {
    await storage.uploadJson(bucket, 'ts/result.json', { emissions: 1234.56, unit: 'tCO₂e' });
    const seen = await python<PythonRead>('read', bucket, 'ts/result.json');
    assert.equal(seen.contentType, 'application/json');
    assert.deepEqual(await storage.downloadJson(bucket, 'ts/result.json'), { emissions: 1234.56, unit: 'tCO₂e' });
  });
});

describe('what Python writes, TypeScript reads', () => {
  for (const size of [0, 1, 20 * MIB + 7]) {
    test(`an object of ${size} bytes with metadata, tags and checksum`, async () => {
      const key = `python/${size}.bin`;
      const written = await python<{ checksum: string; sha256: string }>('write', bucket, key, String(size));
      const path = join(folder, 'new', `${size}.bin`);
      await storage.downloadFile(bucket, key, path);
      assert.equal(sha256(await readFile(path)), written.sha256);
      const head = await storage.head(bucket, key);
      assert.equal(head.ChecksumCRC64NVME, written.checksum);
      assert.equal(head.Metadata?.['tenant-id'], 'tenant-123');
      assert.equal(head.Metadata?.['written-by'], 'python');
      const tags = await storage.client.send(new GetObjectTaggingCommand({ Bucket: bucket, Key: key }));
      const pairs = Object.fromEntries((tags.TagSet ?? []).map((tag) => [tag.Key, tag.Value]));
      assert.deepEqual(pairs, { project: 'greenlang', stage: 'a b+c' });
    });
  }
});

describe('listing', () => {
  test('every object once, in order, over several pages, odd keys included', async () => {
    const keys = ['list/a b', 'list/a+b', 'list/ä/ü', 'list/x%2Fy', 'list/z&<>'].sort();
    for (const key of keys) await storage.uploadJson(bucket, key, {});
    const found: string[] = [];
    for await (const object of storage.listObjects(bucket, 'list/', 2)) {
      assert.equal(object.size, 2);
      found.push(object.key);
    }
    assert.deepEqual(found.sort(), keys);
  });
});

describe('errors', () => {
  test('a missing key', async () => {
    await assert.rejects(storage.getObject(bucket, 'missing'), (error) => {
      assert.ok(error instanceof S3NotFoundError);
      assert.deepEqual([error.code, error.status, error.key, error.operation], ['NoSuchKey', 404, 'missing', 'GetObject']);
      assert.match(error.message, /Check the bucket and the key/);
      return true;
    });
  });

  test('wrong credentials', async () => {
    const keys = process.env['AWS_SECRET_ACCESS_KEY'];
    process.env['AWS_SECRET_ACCESS_KEY'] = 'wrong-secret-key';
    const stranger = new Storage();
    try {
      await assert.rejects(stranger.getObject(bucket, 'missing'), S3AccessDeniedError);
    } finally {
      process.env['AWS_SECRET_ACCESS_KEY'] = keys;
      stranger.close();
    }
  });

  test('create only, twice', async () => {
    await storage.uploadJson(bucket, 'once', 1, { ifNoneMatch: true });
    await assert.rejects(storage.uploadJson(bucket, 'once', 2, { ifNoneMatch: true }), S3PreconditionFailedError);
    assert.equal(await storage.downloadJson(bucket, 'once'), 1);
  });

  test('an object above the limit is not read', async () => {
    await storage.uploadJson(bucket, 'large', 'x'.repeat(1000));
    await assert.rejects(storage.getObject(bucket, 'large', 999), S3TooLargeError);
  });

  test('no store there', async () => {
    const nowhere = new Storage({ ...settingsFromEnvironment(), endpoint: 'http://127.0.0.1:9', maxAttempts: 1 });
    await assert.rejects(nowhere.getObject(bucket, 'x'), (error) => error instanceof S3Error && error.retryable);
    nowhere.close();
  });

  test('a bad setting names its variable', () => {
    assert.throws(() => settingsFromEnvironment({ GREENLANG_STORAGE_ENCRYPTION: 'rot13' }), /GREENLANG_STORAGE_ENCRYPTION=rot13/);
    assert.throws(() => settingsFromEnvironment({ GREENLANG_STORAGE_MAX_ATTEMPTS: '0' }), /GREENLANG_STORAGE_MAX_ATTEMPTS=0/);
  });
});

describe('nothing half-written', () => {
  test('an aborted upload leaves no open multipart upload and no object', async () => {
    const controller = new AbortController();
    const endless = Readable.from(
      (async function* () {
        for (let piece = 0; piece < 64; piece += 1) {
          if (piece === 20) controller.abort();
          yield randomBytes(MIB);
        }
      })(),
    );
    const upload = storage.uploadStream(bucket, 'aborted.bin', endless, { partSize: 5 * MIB, signal: controller.signal });
    await assert.rejects(upload, { name: 'AbortError' });
    assert.equal(await openUploads('aborted.bin'), 0);
    await assert.rejects(storage.head(bucket, 'aborted.bin'), S3NotFoundError);
  });

  test('a source that fails leaves no open multipart upload', async () => {
    const broken = Readable.from(
      (async function* () {
        for (let piece = 0; piece < 12; piece += 1) yield randomBytes(MIB);
        throw new Error('the source broke');
      })(),
    );
    await assert.rejects(storage.uploadStream(bucket, 'broken.bin', broken, { partSize: 5 * MIB }), /the source broke/);
    assert.equal(await openUploads('broken.bin'), 0);
  });

  test('a failed download leaves the old file and no other', async () => {
    const target = join(folder, 'kept', 'report.pdf');
    await storage.uploadJson(bucket, 'report', 'old');
    await storage.downloadFile(bucket, 'report', target);
    await assert.rejects(storage.downloadFile(bucket, 'missing', target), S3NotFoundError);
    assert.equal(await readFile(target, 'utf8'), '"old"');
    assert.deepEqual(await readdir(join(folder, 'kept')), ['report.pdf']);
  });

  test('changed bytes are an integrity error', async () => {
    await storage.uploadJson(bucket, 'tampered', 'right');
    storage.client.middlewareStack.add(
      (next) => async (args) => {
        const result = await next(args);
        const response = result.response as { headers: Record<string, string> };
        if (response.headers['x-amz-checksum-crc32']) response.headers['x-amz-checksum-crc32'] = 'AAAAAA==';
        return result;
      },
      { step: 'deserialize', name: 'tamper', priority: 'low' },
    );
    try {
      await assert.rejects(storage.getObject(bucket, 'tampered'), S3IntegrityError);
      await assert.rejects(storage.downloadFile(bucket, 'tampered', join(folder, 'tampered')), S3IntegrityError);
    } finally {
      storage.client.middlewareStack.remove('tamper');
    }
    assert.equal((await readdir(folder)).includes('tampered'), false);
  });
});

describe('presigned upload', () => {
  test('stores what it was signed for, and refuses another type', async () => {
    const plain = new Storage({ ...settingsFromEnvironment(), encryption: 'none' });
    const url = await plain.uploadUrl(bucket, 'link.csv', 'text/csv', 60);
    const wrong = await fetch(url, { method: 'PUT', body: 'a,b', headers: { 'content-type': 'text/html' } });
    assert.equal(wrong.status, 403);
    const right = await fetch(url, { method: 'PUT', body: 'a,b', headers: { 'content-type': 'text/csv' } });
    assert.equal(right.status, 200);
    assert.equal((await storage.getObject(bucket, 'link.csv')).toString(), 'a,b');
    await assert.rejects(plain.uploadUrl(bucket, 'x', 'text/csv', 700_000), RangeError);
    plain.close();
  });
});

test('an object by others, without metadata, is read too', async () => {
  await storage.client.send(new PutObjectCommand({ Bucket: bucket, Key: 'foreign', Body: 'bytes' }));
  assert.equal((await python<PythonRead>('read', bucket, 'foreign')).size, 5);
});
