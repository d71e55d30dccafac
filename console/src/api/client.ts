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
}

interface Answer {
  data?: unknown;
  // AppSync says errorType where others say extensions.code.
  errors?: { message: string; extensions?: { code?: string }; errorType?: string }[];
}

export function createApi(endpoint: string, manager: UserManager): Api {
  async function post(body: string, signal?: AbortSignal): Promise<Response> {
    const user = await manager.getUser();
    const headers = {
      'content-type': 'application/json',
      authorization: user?.access_token ?? '',
    };
    try {
      return await fetch(endpoint, { method: 'POST', headers, body, ...(signal ? { signal } : {}) });
    } catch (error) {
      if (signal?.aborted) throw error;
      throw new ApiError('', 'UNREACHABLE', true);
    }
  }

  return {
    async request<R>(document: { toString(): string }, variables?: unknown, signal?: AbortSignal) {
      const body = JSON.stringify({ query: document.toString(), variables: variables ?? {} });
      let response = await post(body, signal);
      if (response.status === 401 && (await renewed(manager))) response = await post(body, signal);
      if (response.status === 401) {
        await manager.removeUser(); // the gate takes it from here: to the issuer, and back to this page
        throw new ApiError('', 'UNAUTHENTICATED');
      }
      const answer = (await response.json().catch(() => ({}))) as Answer;
      const error = answer.errors?.[0];
      if (error) throw new ApiError(error.message, error.extensions?.code ?? error.errorType ?? 'FAILED');
      if (!response.ok || !answer.data)
        throw new ApiError(`HTTP ${response.status}`, 'FAILED', response.status >= 500);
      return answer.data as R;
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
