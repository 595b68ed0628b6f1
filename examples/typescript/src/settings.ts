/** The Python SDK's environment variables, read once and checked. */

export type Encryption = 'aws:kms' | 'AES256' | 'none';

export interface StorageSettings {
  readonly region: string;
  /** Undefined means AWS. */
  readonly endpoint: string | undefined;
  readonly encryption: Encryption;
  readonly kmsKeyId: string;
  readonly maxPoolConnections: number;
  readonly maxAttempts: number;
}

const ENCRYPTIONS: readonly Encryption[] = ['aws:kms', 'AES256', 'none'];

/** Settings from *env*; a bad value throws a `RangeError` that names the variable. */
export function settingsFromEnvironment(env: NodeJS.ProcessEnv = process.env): StorageSettings {
  const encryption = env['GREENLANG_STORAGE_ENCRYPTION'] ?? 'aws:kms';
  if (!ENCRYPTIONS.includes(encryption as Encryption)) {
    throw new RangeError(
      `GREENLANG_STORAGE_ENCRYPTION=${encryption} is none of ${ENCRYPTIONS.join(', ')}; set one of them.`,
    );
  }
  return {
    region: env['AWS_REGION'] ?? env['AWS_DEFAULT_REGION'] ?? 'us-east-1',
    endpoint: env['GREENLANG_STORAGE_ENDPOINT_URL'] || undefined,
    encryption: encryption as Encryption,
    kmsKeyId: env['KMS_KEY_ID'] || 'alias/greenlang-s3-key',
    maxPoolConnections: positive(env, 'GREENLANG_STORAGE_MAX_POOL_CONNECTIONS', 100),
    maxAttempts: positive(env, 'GREENLANG_STORAGE_MAX_ATTEMPTS', 3),
  };
}

function positive(env: NodeJS.ProcessEnv, name: string, otherwise: number): number {
  const text = env[name];
  if (text === undefined || text === '') return otherwise;
  const value = Number(text);
  if (!Number.isInteger(value) || value < 1) {
    throw new RangeError(`${name}=${text} is not a whole number from 1 up; set one, or unset the variable.`);
  }
  return value;
}
