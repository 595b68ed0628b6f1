/** The Python SDK's error classes, with the same names and fields. */

import { S3ServiceException } from '@aws-sdk/client-s3';

export interface S3ErrorFields {
  readonly operation: string;
  readonly bucket: string;
  readonly key: string | undefined;
  /** S3's error code, such as `NoSuchKey`; undefined when no answer came. */
  readonly code?: string | undefined;
  /** HTTP status. */
  readonly status?: number | undefined;
  readonly requestId?: string | undefined;
  /** Whether the same call may succeed later; the client already tried as often as it is configured to. */
  readonly retryable?: boolean;
}

/** Any failure of a storage call; `cause` is what the AWS SDK threw. */
export class S3Error extends Error {
  readonly operation: string;
  readonly bucket: string;
  readonly key: string | undefined;
  readonly code: string | undefined;
  readonly status: number | undefined;
  readonly requestId: string | undefined;
  readonly retryable: boolean;

  constructor(message: string, fields: S3ErrorFields, options?: ErrorOptions) {
    super(message, options);
    this.name = new.target.name;
    this.operation = fields.operation;
    this.bucket = fields.bucket;
    this.key = fields.key;
    this.code = fields.code;
    this.status = fields.status;
    this.requestId = fields.requestId;
    this.retryable = fields.retryable ?? false;
  }
}

/** No such bucket, key or version. */
export class S3NotFoundError extends S3Error {}
/** The credentials do not allow the call. */
export class S3AccessDeniedError extends S3Error {}
/** The store asks to slow down. */
export class S3ThrottlingError extends S3Error {}
/** `ifNoneMatch` or `ifMatch` did not hold. */
export class S3PreconditionFailedError extends S3Error {}
/** The bytes are not those that were stored. */
export class S3IntegrityError extends S3Error {}
/** The object is larger than the caller allows. */
export class S3TooLargeError extends S3Error {}

type S3ErrorClass = new (message: string, fields: S3ErrorFields, options?: ErrorOptions) => S3Error;

const THROTTLED = new Set(['SlowDown', 'Throttling', 'ThrottlingException', 'TooManyRequests', 'RequestLimitExceeded']);
// An IncompleteBody or BadDigest may be a fault on the way; S3's documentation says to send them again.
const RETRYABLE = new Set(['InternalError', 'ServiceUnavailable', 'RequestTimeout', 'IncompleteBody', 'BadDigest']);

/** The typed error for what an S3 call threw; an `S3Error` and an `AbortError` stay what they are. */
export function storageError(thrown: unknown, where: Pick<S3ErrorFields, 'operation' | 'bucket' | 'key'>): Error {
  if (thrown instanceof S3Error || isAbort(thrown)) return thrown;
  const at = `${where.operation} s3://${where.bucket}/${where.key ?? ''}`;
  if (!(thrown instanceof S3ServiceException)) {
    const text = thrown instanceof Error ? thrown.message : String(thrown);
    const fields = { ...where, retryable: true };
    if (/checksum mismatch/i.test(text)) {
      return new S3IntegrityError(`${at}: ${text}. Read the object again.`, fields, { cause: thrown });
    }
    return new S3Error(`${at}: ${text}. Check GREENLANG_STORAGE_ENDPOINT_URL and the network.`, fields, { cause: thrown });
  }
  const status = thrown.$metadata.httpStatusCode;
  const [kind, remedy] = kindOf(thrown.name, status);
  return new kind(
    `${at}: ${thrown.message || thrown.name}. ${remedy}`,
    {
      ...where,
      code: thrown.name,
      status,
      requestId: thrown.$metadata.requestId,
      retryable: kind === S3ThrottlingError || RETRYABLE.has(thrown.name),
    },
    { cause: thrown },
  );
}

function kindOf(code: string, status: number | undefined): [S3ErrorClass, string] {
  if (THROTTLED.has(code) || status === 429) return [S3ThrottlingError, 'Send fewer requests at a time.'];
  if (status === 404) return [S3NotFoundError, 'Check the bucket and the key.'];
  if (status === 412 || code === 'ConditionalRequestConflict') {
    return [S3PreconditionFailedError, 'Read the object again and decide.'];
  }
  if (status === 401 || status === 403) {
    return [S3AccessDeniedError, 'Check the credentials and the permissions of their role.'];
  }
  if (status === 501) return [S3Error, 'Set KMS_KEY_ID to a key of this store, or GREENLANG_STORAGE_ENCRYPTION.'];
  return [S3Error, 'See the code in the S3 API reference, "Error responses".'];
}

function isAbort(thrown: unknown): thrown is Error {
  return thrown instanceof Error && thrown.name === 'AbortError';
}
