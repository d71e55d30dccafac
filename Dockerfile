# The image of a release: the command `dth` for hubs and transfers. The workflow of a release builds it from the wheels:
#   make wheels && docker build --tag data-transfer-hub .
FROM python:3.13-slim
RUN apt-get update -qq \
    && apt-get install -qq -y --no-install-recommends ca-certificates skopeo \
    && rm -rf /var/lib/apt/lists/*
COPY build/wheels/*.whl /wheels/
# The wheel of this processor, by its file: the name alone could bring another version.
RUN pip install --no-cache-dir --only-binary :all: "$(echo /wheels/*_$(uname -m).whl)[parquet,postgres]" && rm -r /wheels
RUN useradd --uid 10001 --create-home dth && install -d -o dth -g dth -m 700 /data
USER 10001:10001
VOLUME /data
EXPOSE 8780
ENTRYPOINT ["dth"]
