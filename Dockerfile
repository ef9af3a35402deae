# chime serve in an image without a shell, as a user without rights:
#
#   docker build -t chime .
#   docker run -p 4000:4000 -v chime:/data chime
FROM golang:1.26 AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
RUN CGO_ENABLED=0 go build -trimpath -ldflags=-s -o /out/chime ./cmd/chime && mkdir /out/data

FROM gcr.io/distroless/static-debian12:nonroot
COPY --from=build /out/chime /usr/local/bin/chime
COPY --from=build --chown=nonroot:nonroot /out/data /data
USER nonroot
WORKDIR /data
EXPOSE 4000
ENTRYPOINT ["chime"]
CMD ["serve", "--addr", "0.0.0.0:4000"]
