"""Requests to a store, in layers. Each layer wraps the one below it and has one method,
`send(Request) -> Response`.

    capabilities   leaves out what this store is known to refuse
    retry          tries again after temporary errors
    gate           admits as many requests as the endpoint accepts, within the caps
    signing        signs, and follows the store to the right region
    wire           sends one request over HTTP; the answer becomes a response or an error

On top of them, by concept: `objects`, `uploads`, `buckets`. `client.S3Client` combines everything.
"""
