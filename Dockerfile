# The image is bkp, its plugins and time zones; they are built in a first stage. Where no registry can be reached, `make image`
# builds them outside: see docker-compose.prepared.yml.
ARG GO=golang:1.26
FROM ${GO} AS build
# Where modules come from; Go's own choice unless it is given.
ARG GOPROXY
ARG VERSION=devel
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
RUN make image VERSION="$VERSION" && go clean -cache

FROM scratch
COPY --from=build /src/build/image/bkp /bkp
COPY --from=build /src/build/image/plugins/ /plugins/
COPY --from=build /src/build/image/zoneinfo.zip /zoneinfo.zip
COPY --from=build --chown=65534:65534 /src/build/image/data/ /data/
COPY --from=build --chown=65534:65534 /src/build/image/tmp/ /tmp/
COPY --from=build --chown=65534:65534 /src/build/image/tmp/ /cluster/
ENV BKP_DATA=/data BKP_PLUGIN_PATH=/plugins ZONEINFO=/zoneinfo.zip
USER 65534:65534
VOLUME /data
EXPOSE 8001
HEALTHCHECK --interval=5s --timeout=5s --start-period=20s --retries=6 CMD ["/bkp", "health"]
ENTRYPOINT ["/bkp"]
CMD ["node", "start"]
