# flyball as a sidecar. Beside your app in one pod, as it is. Reached from outside its own network, say so:
# docker run -p 8080:8080 -e FLYBALL_HOST=0.0.0.0 -v ./flyball.config.yaml:/etc/flyball/flyball.config.yaml:ro flyball
FROM node:24-slim AS build
WORKDIR /build
# a compiler for the native engine; it stays in this stage
RUN apt-get update -qq && apt-get install -y -qq --no-install-recommends g++ && rm -rf /var/lib/apt/lists/*
# the packages in a layer of their own: it stays valid while only sources change
COPY package.json package-lock.json .npmrc ./
RUN npm ci --ignore-scripts --include=dev --include=optional
COPY . .
RUN node tools/setup.mjs --build && npm prune --omit=dev --ignore-scripts \
  # what run time needs, and the native engine where it was built
  && mkdir -p /opt/flyball/build && cp -r package.json LICENSE node_modules dist /opt/flyball/ \
  && rm -rf /opt/flyball/dist/test /opt/flyball/node_modules/.cache \
  && if [ -d build ]; then cp -r build/. /opt/flyball/build/; fi

FROM node:24-slim
# the port that is exposed and probed below, whatever the configuration says
ENV NODE_ENV=production FLYBALL_PORT=8080
WORKDIR /opt/flyball
COPY --from=build /opt/flyball ./
# the image's own unprivileged user, by number so that a runAsNonRoot policy can see it
USER 1000:1000
EXPOSE 8080
# --init is not needed: flyball drains on SIGTERM itself and starts no children
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s --retries=3 \
  CMD ["node", "-e", "fetch(`http://127.0.0.1:${process.env.FLYBALL_PORT}/livez`).then((reply) => process.exit(reply.ok ? 0 : 1), () => process.exit(1))"]
ENTRYPOINT ["node", "dist/src/cli/bin.js"]
CMD ["serve", "--config", "/etc/flyball/flyball.config.yaml"]
