"""Requests to a store, in layers. Each layer wraps the one below it and has one method, `send(Request) -> Response`.

    capabilities   leaves out what this store was found to refuse
    retry          tries again what is passing
    gate           admits as many requests as the endpoint takes, and keeps to the caps
    signing        signs, and follows the store to the right region
    wire           one request over HTTP; its answer becomes a response or an error

On top of them, by concept: `objects`, `uploads`, `buckets`. `client.S3Client` puts all of it together.
"""
