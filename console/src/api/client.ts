import type { UserManager } from 'oidc-client-ts';
import type { TypedDocumentString } from './generated';

/** What the hub said to a request. `code`: by which errors are told apart (BAD_INPUT, NOT_FOUND, FORBIDDEN, ...). */
export class ApiError extends Error {
  constructor(
    message: string,
    readonly code: string,
    /** Whether the same request may succeed in a moment. */
    readonly passing = false,
  ) {
    super(message);
  }
}

export interface Api {
  request<R, V>(document: TypedDocumentString<R, V>, variables?: V, signal?: AbortSignal): Promise<R>;
  /** Sends bytes to a path of the hub. */
  send(path: string, bytes: Blob): Promise<void>;
}

interface Answer {
  data?: unknown;
  // AppSync says errorType where others say extensions.code.
  errors?: { message: string; extensions?: { code?: string }; errorType?: string }[];
}

export function createApi(endpoint: string, manager: UserManager): Api {
  async function post(url: string, type: string, body: string | Blob, signal?: AbortSignal) {
    const user = await manager.getUser();
    const headers = { 'content-type': type, authorization: user?.access_token ?? '' };
    try {
      return await fetch(url, { method: 'POST', headers, body, ...(signal ? { signal } : {}) });
    } catch (error) {
      if (signal?.aborted) throw error;
      throw new ApiError('', 'UNREACHABLE', true);
    }
  }

  /** The hub's answer; without `data`, it is one to bytes. */
  async function ask(...given: Parameters<typeof post>): Promise<Answer> {
    let response = await post(...given);
    if (response.status === 401 && (await renewed(manager))) response = await post(...given);
    if (response.status === 401) {
      await manager.removeUser(); // the gate takes it from here: to the issuer, and back to this page
      throw new ApiError('', 'UNAUTHENTICATED');
    }
    const answer = (await response.json().catch(() => ({}))) as Answer;
    const error = answer.errors?.[0];
    if (error) throw new ApiError(error.message, error.extensions?.code ?? error.errorType ?? 'FAILED');
    if (!response.ok) throw new ApiError(`HTTP ${response.status}`, 'FAILED', response.status >= 500);
    return answer;
  }

  return {
    async request<R>(document: { toString(): string }, variables?: unknown, signal?: AbortSignal) {
      const body = JSON.stringify({ query: document.toString(), variables: variables ?? {} });
      const answer = await ask(endpoint, 'application/json', body, signal);
      if (!answer.data) throw new ApiError('HTTP 200', 'FAILED');
      return answer.data as R;
    },
    async send(path, bytes) {
      await ask(path, 'application/octet-stream', bytes);
    },
  };
}

/** The access token ran out earlier than its renewal (a laptop that slept): renew it now. */
async function renewed(manager: UserManager): Promise<boolean> {
  try {
    return (await manager.signinSilent()) !== null;
  } catch {
    return false;
  }
}
