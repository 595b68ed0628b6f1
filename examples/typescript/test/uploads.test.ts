/** Against the example application and the store under it; both run in processes of their own. */

import assert from 'node:assert/strict';
import { spawn, type ChildProcess } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';

import { ListMultipartUploadsCommand } from '@aws-sdk/client-s3';

import { Storage } from '../src/storage.js';
import { UploadClient, UploadProblem } from '../src/uploads.js';

const MIB = 1024 * 1024;
const ROOT = fileURLToPath(new URL('../../../../', import.meta.url));
const BUCKET = 'greenlang-dev-us-east-1-data-lake-internal';
const storage = new Storage();
let service: ChildProcess;
let uploads: UploadClient;
let folder = '';

before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'greenlang-ts-'));
  service = spawn(process.env['GREENLANG_PYTHON'] ?? 'python3', ['-m', 'examples.fastapi_app'], {
    cwd: ROOT,
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  assert.ok(service.stdout);
  const [line] = (await once(createInterface(service.stdout), 'line')) as [string];
  uploads = new UploadClient(`${line}api/uploads`, { 'x-tenant': 'tenant-ts' });
});
after(async () => {
  service.kill('SIGTERM');
  await once(service, 'exit');
  storage.close();
  await rm(folder, { recursive: true });
});

async function file(name: string, size: number): Promise<{ path: string; sha256: string }> {
  const data = randomBytes(size);
  const path = join(folder, name);
  await writeFile(path, data);
  return { path, sha256: createHash('sha256').update(data).digest('hex') };
}

async function openUploads(): Promise<number> {
  const page = await storage.client.send(new ListMultipartUploadsCommand({ Bucket: BUCKET }));
  return page.Uploads?.length ?? 0;
}

for (const size of [1, 3 * MIB, 21 * MIB + 5]) {
  test(`a file of ${size} bytes is confirmed, and stored as it was`, async () => {
    const { path, sha256 } = await file(`table ${size} ü.csv`, size);
    let sent = 0;
    const confirmed = await uploads.uploadFile(path, { onProgress: (done) => (sent = done) });
    assert.equal(confirmed.size, size);
    assert.equal(confirmed.content_type, 'text/csv');
    assert.equal(confirmed.verified, true);
    assert.equal(sent, size);
    const stored = await storage.getObject(BUCKET, `landing/tenant-ts/${confirmed.key}`);
    assert.equal(createHash('sha256').update(stored).digest('hex'), sha256);
    assert.equal(await openUploads(), 0);
  });
}

test('a type the service does not take is refused before a byte is sent', async () => {
  const { path } = await file('program.exe', 10);
  await assert.rejects(uploads.uploadFile(path), (error) => error instanceof UploadProblem && error.status === 415);
});

test('an aborted upload leaves no open multipart upload', async () => {
  const { path } = await file('long.csv', 40 * MIB);
  const controller = new AbortController();
  const sending = uploads.uploadFile(path, { signal: controller.signal, concurrency: 2, onProgress: () => controller.abort() });
  await assert.rejects(sending, { name: 'AbortError' });
  assert.equal(await openUploads(), 0);
});
