/** Calls the Python SDK in a process of its own. */

import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const run = promisify(execFile);
const SCRIPT = fileURLToPath(new URL('../../test/python_side.py', import.meta.url));

export interface PythonRead {
  readonly size: number;
  readonly sha256: string;
  readonly metadata: Readonly<Record<string, string>>;
  readonly contentType: string;
  readonly checksum: string | null;
  readonly tags: Readonly<Record<string, string>>;
}

/** What `python_side.py` answers; `GREENLANG_PYTHON` names the interpreter that has the SDK. */
export async function python<T>(...args: readonly string[]): Promise<T> {
  const { stdout } = await run(process.env['GREENLANG_PYTHON'] ?? 'python3', [SCRIPT, ...args], { timeout: 60_000 });
  return JSON.parse(stdout) as T;
}
