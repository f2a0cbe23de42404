# One static binary and its plugins. `make image` puts them into build/image first; no registry is needed.
FROM scratch
# Without `make image` the build stops here, at a file whose name says why.
COPY ["build/image/STOP - run make image first - it puts the binary and plugins and time zones here", "/.made-by"]
COPY build/image/bkp /bkp
COPY build/image/plugins/ /plugins/
COPY build/image/zoneinfo.zip /zoneinfo.zip
COPY --chown=65534:65534 build/image/data/ /data/
COPY --chown=65534:65534 build/image/tmp/ /tmp/
ENV BKP_DATA=/data BKP_PLUGIN_PATH=/plugins ZONEINFO=/zoneinfo.zip
USER 65534:65534
VOLUME /data
EXPOSE 8001
HEALTHCHECK --interval=5s --timeout=5s --start-period=20s --retries=6 CMD ["/bkp", "health"]
ENTRYPOINT ["/bkp"]
CMD ["node", "start"]
