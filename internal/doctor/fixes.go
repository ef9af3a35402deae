package doctor

// Products, in the order in which their settings are shown. docs/deployment.md has whole
// configurations.
const (
	encryption = "TLS" // no product: what helps against boxes that are nobody's
	nginx      = "nginx"
	haproxy    = "HAProxy"
	apache     = "Apache"
	caddy      = "Caddy"
	traefik    = "Traefik"
	alb        = "AWS ALB"
	cloudflare = "Cloudflare"
)

var products = []string{encryption, nginx, haproxy, apache, caddy, traefik, alb, cloudflare}

// cure is the settings of each product. No lines: it does not do that, or can't be told
// not to.
type cure map[string][]string

// unseen is for boxes that look into connections: virus scanners and filters.
var unseen = cure{encryption: {"# serve https: most such boxes leave alone what they can't read", "# one that reads TLS too has to be told to leave this host alone"}}

var upgrades = cure{
	nginx:      {"map $http_upgrade $connection_upgrade { default upgrade; '' close; }", "proxy_http_version 1.1;", "proxy_set_header Upgrade $http_upgrade;", "proxy_set_header Connection $connection_upgrade;"},
	haproxy:    {"mode http", "# and no \"option httpclose\", and no rule that deletes Upgrade or Connection"},
	apache:     {"ProxyPass /socket/ http://127.0.0.1:4000/socket/ upgrade=websocket flushpackets=on"},
	caddy:      {"reverse_proxy 127.0.0.1:4000", "# passes upgrades by itself: look for a header_up that deletes Upgrade"},
	traefik:    {"# passes upgrades by itself: look for a headers middleware that sets Connection"},
	alb:        {"# the protocol version of the target group: HTTP1; those of HTTP2 and gRPC take no upgrades"},
	cloudflare: {"# Network > WebSockets: on"},
}

var flushing = cure{
	nginx:      {"proxy_buffering off;", "# and no \"proxy_ignore_headers X-Accel-Buffering\""},
	haproxy:    {"option http-no-delay", "# and no \"http-response wait-for-body\""},
	apache:     {"ProxyPass /socket/ http://127.0.0.1:4000/socket/ upgrade=websocket flushpackets=on", "# and no mod_buffer"},
	caddy:      {"reverse_proxy 127.0.0.1:4000 {", "\tflush_interval -1", "}", "# and no response_buffers"},
	traefik:    {"# no buffering middleware on the router of the mount"},
	alb:        {"# passes on what comes: look at what stands behind it"},
	cloudflare: {"# no Response Body Buffering: Full for the path of the mount"},
}

var plainBodies = cure{
	nginx:      {"gzip off;", "# or leave text/event-stream out of gzip_types"},
	haproxy:    {"# leave text/event-stream out of \"compression type\""},
	apache:     {"SetEnv no-gzip 1", "SetEnv no-brotli 1"},
	caddy:      {"# an encode with a matcher that leaves out the mount: @rest not path /socket/*"},
	traefik:    {"traefik.http.middlewares.NAME.compress.excludedcontenttypes=text/event-stream"},
	cloudflare: {"# Rules > Compression: off for the path of the mount"},
}

var patience60 = cure{
	nginx:      {"proxy_read_timeout 60s;", "proxy_send_timeout 60s;"},
	haproxy:    {"timeout client 60s", "timeout server 60s", "timeout tunnel 60s"},
	apache:     {"Timeout 60", "ProxyTimeout 60"},
	caddy:      {"# has no such limit by itself: look for read_timeout and write_timeout of a transport"},
	traefik:    {"--entryPoints.websecure.transport.respondingTimeouts.readTimeout=0", "--entryPoints.websecure.transport.respondingTimeouts.idleTimeout=180s"},
	alb:        {"aws elbv2 modify-load-balancer-attributes --load-balancer-arn ARN --attributes Key=idle_timeout.timeout_seconds,Value=60"},
	cloudflare: {"# allows 100 s: look at what stands behind it"},
}

var ages = cure{
	nginx:      {"# has no such limit: look at what stands before and behind it"},
	haproxy:    {"timeout tunnel 1h"},
	caddy:      {"# a stream_timeout of reverse_proxy: remove it"},
	traefik:    {"--entryPoints.websecure.transport.respondingTimeouts.readTimeout=0", "--entryPoints.websecure.transport.respondingTimeouts.writeTimeout=0"},
	alb:        {"# has no such limit: look at what stands behind it"},
	cloudflare: {"# cuts WebSockets when it restarts, and by no clock"},
}

var bigHeaders = cure{
	nginx:   {"large_client_header_buffers 4 32k;"},
	haproxy: {"tune.bufsize 32768", "# in global"},
	apache:  {"LimitRequestFieldSize 32768"},
	caddy:   {"{", "\tservers {", "\t\tmax_header_size 64KB", "\t}", "}"},
	alb:     {"# takes 16 KiB in a line, and can't be told to take more: use a shorter token"},
}

var hosts = cure{
	nginx:   {"proxy_set_header Host $http_host;"},
	haproxy: {"# passes Host on: look for \"http-request set-header Host\""},
	apache:  {"ProxyPreserveHost On"},
	caddy:   {"# passes Host on: look for a header_up Host"},
	traefik: {"traefik.http.services.NAME.loadbalancer.passhostheader=true"},
	alb:     {"# passes Host on; for its port too, the attribute routing.http.preserve_host_header.enabled=true"},
}

var ownHeaders = cure{
	nginx:      {"# passes them on: look for proxy_pass_request_headers off"},
	haproxy:    {"# passes them on: look for \"http-request del-header\""},
	apache:     {"# passes them on: look for RequestHeader unset"},
	cloudflare: {"# Rules > Transform Rules: none that removes Chime-Received or Chime-Secret"},
}

var once = cure{
	nginx:   {"# tries no POST again by itself: no \"non_idempotent\" in proxy_next_upstream"},
	haproxy: {"retry-on none"},
	caddy:   {"# tries no POST again by itself: look for lb_retry_match"},
	traefik: {"# no retry middleware on the router of the mount"},
}

var inOrder = cure{
	encryption: unseen[encryption],
	nginx:      {"# no limit_req on the mount, or one with nodelay: each POST waits for its own turn there"},
	haproxy:    {"# no \"http-request wait-for-body\" on the mount: what is short overtakes what is long"},
}

var newHTTP = cure{nginx: {"proxy_http_version 1.1;"}, apache: {"# no SetEnv force-response-1.0, no SetEnv force-proxy-request-1.0"}}

var cures = map[string]cure{
	otherHost:          hosts,
	oldHTTP:            newHTTP,
	upgradeDropped:     upgrades,
	upgradeRefused:     upgrades,
	webSocketDeaf:      unseen,
	webSocketMute:      unseen,
	webSocketCutYoung:  unseen,
	streamDelayed:      flushing,
	streamFirstDelayed: flushing,
	streamRestDelayed:  flushing,
	streamLate:         flushing,
	answersDelayed:     flushing,
	streamCompressed:   plainBodies,
	headersStripped:    ownHeaders,
	headerLimit:        bigHeaders,
	postsRepeated:      once,
	postsReordered:     inOrder,
	cutByIdle:          patience60,
	cutByAge:           ages,
	cutAtTimes:         patience60,
	resetOfHTTP2:       ages,
	pollCut:            patience60,
}

// fixesOf are the settings that cure a fault, of those products that have some.
func fixesOf(name string) []Fix {
	list := []Fix{}
	for _, product := range products {
		if lines := cures[name][product]; len(lines) > 0 {
			list = append(list, Fix{product, lines})
		}
	}
	return list
}
