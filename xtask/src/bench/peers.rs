//! Configurations of the peers, each told to do the header work that our front end does: 30 ordered URL patterns of which the last one matches,
//! the request headers of rows H1–H3 stripped, those of H6–H10 added, the response headers of H15 dropped and those of H17–H22 set.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Result;

/// Ports of one front server.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ports {
    pub(crate) http: u16,
    pub(crate) tls: u16,
    /// HTTP/2 without TLS; for servers that tell the protocols apart by themselves the same as `http`.
    pub(crate) h2c: u16,
}

/// How many URL patterns stand before the one that the load meets.
pub(crate) const PATTERNS: usize = 30;

const STRIPPED: &[&str] = &[
    "X-Google-Real-IP",
    "X-Google-Apps-Metadata",
    "X-Appengine-User-Email",
    "X-Appengine-User-Id",
    "X-Appengine-User-Is-Admin",
    "X-Appengine-Cron",
    "X-Appengine-QueueName",
    "X-Appengine-TaskName",
    "X-Appengine-Inbound-Appid",
    "Accept-Encoding",
    "Keep-Alive",
    "Proxy-Authorization",
    "TE",
];

const DROPPED: &[&str] = &["Content-Encoding", "Keep-Alive", "Proxy-Authenticate", "Trailer", "Upgrade"];

/// Everything that the benchmarks need on disk.
pub(crate) struct Site {
    pub(crate) dir: PathBuf,
}

impl Site {
    /// Writes static files, a certificate and the upstream's configuration template.
    pub(crate) fn create(dir: &Path) -> Result<Self> {
        fs::create_dir_all(dir.join("app/static"))?;
        let page = |bytes: usize| {
            "<p>The quick brown fox jumps over the lazy dog 0123456789.</p>\n".bytes().cycle().take(bytes).collect::<Vec<u8>>()
        };
        for (name, bytes) in [("1k.html", 1 << 10), ("100k.html", 100 << 10), ("10m.bin", 10 << 20)] {
            fs::write(dir.join("app/static").join(name), page(bytes))?;
        }
        let site = Self { dir: dir.to_owned() };
        site.forget_upstreams()?;
        fs::write(dir.join("upstream.conf.in"), site.upstream())?;
        fs::write(dir.join("app/upstream.sh"), site.upstream_script())?;
        fs::write(dir.join("app/app.yaml"), app_yaml(PATTERNS))?;
        Ok(site)
    }

    /// Removes what the upstreams of earlier runs were started with.
    fn forget_upstreams(&self) -> Result<()> {
        for entry in fs::read_dir(&self.dir)? {
            let file = entry?.path();
            let ours = file.file_name().is_some_and(|name| name.to_string_lossy().starts_with("upstream-"));
            if ours && file.extension().is_some_and(|ending| ending == "conf") {
                fs::remove_file(file)?;
            }
        }
        Ok(())
    }

    /// The upstream: nginx that answers 1 KB or 100 KB from memory.
    fn upstream(&self) -> String {
        let text = "x".repeat(1024);
        format!(
            "daemon off; worker_processes 1; pid {dir}/upstream-@PORT@.pid; error_log stderr crit;\n\
             events {{ worker_connections 4096; }}\n\
             http {{ access_log off; keepalive_requests 1000000000; keepalive_timeout 600s; default_type text/html; client_body_temp_path {dir}/tmp;\n\
             server {{ listen 127.0.0.1:@PORT@ backlog=4096; location / {{ return 200 \"{text}\"; }} }} }}\n",
            dir = self.dir.display(),
        )
    }

    fn upstream_script(&self) -> String {
        let dir = self.dir.display();
        format!(
            "sed \"s/@PORT@/$PORT/g\" {dir}/upstream.conf.in > {dir}/upstream-$PORT.conf\nexec taskset -c 1 nginx -p {dir} -c {dir}/upstream-$PORT.conf\n"
        )
    }

    /// nginx as the front end; returns its command line.
    pub(crate) fn nginx(&self, ports: Ports, upstream: u16) -> Result<Vec<String>> {
        let dir = self.dir.display();
        let mut locations = String::new();
        for n in 0..PATTERNS - 1 {
            writeln!(locations, "location ~ ^/svc{n}/(.*)/edit$ {{ return 404; }}")?;
        }
        let mut proxy = String::new();
        for name in STRIPPED {
            write!(proxy, "proxy_set_header {name} \"\"; ")?;
        }
        for name in DROPPED {
            write!(proxy, "proxy_hide_header {name}; ")?;
        }
        write!(
            locations,
            "location ~ ^/static/(.*)$ {{ alias {dir}/app/static/$1; expires 10m; add_header Vary Accept-Encoding; }}\n\
             location ~ ^/(.*)$ {{ proxy_pass http://$backend; proxy_http_version 1.1; {proxy}\n\
             proxy_set_header Connection \"\"; proxy_set_header Host $host;\n\
             proxy_set_header X-Forwarded-For $remote_addr; proxy_set_header X-Forwarded-Proto $scheme;\n\
             proxy_set_header X-Appengine-Country ZZ; proxy_set_header X-Appengine-Region ?; proxy_set_header X-Appengine-City ?;\n\
             proxy_set_header X-Appengine-CityLatLong 0.000000,0.000000; proxy_set_header X-Appengine-User-IP $remote_addr; proxy_set_header X-Appengine-Https $https;\n\
             proxy_set_header X-Appengine-Request-Log-Id $request_id; proxy_set_header X-Cloud-Trace-Context $request_id/1;\n\
             proxy_set_header X-Appengine-Default-Version-Hostname $host; proxy_set_header X-Appengine-Timeout-Ms 600000;\n\
             proxy_set_header X-Appengine-Api-Ticket $request_id;\n\
             add_header Cache-Control private; add_header Vary Accept-Encoding; }}\n",
        )?;
        self.nginx_with("front", ports, upstream, &locations)
    }

    /// nginx that passes everything on as it is.
    pub(crate) fn bare_nginx(&self, ports: Ports, upstream: u16) -> Result<Vec<String>> {
        let pass = "location / { proxy_pass http://app; proxy_http_version 1.1; proxy_set_header Connection \"\"; }\n";
        self.nginx_with("bare", ports, upstream, pass)
    }

    fn nginx_with(&self, name: &str, ports: Ports, upstream: u16, locations: &str) -> Result<Vec<String>> {
        let dir = self.dir.display();
        let config = format!(
            "daemon off; worker_processes 1; pid {dir}/{name}.pid; error_log stderr crit;\n\
             events {{ worker_connections 8192; }}\n\
             http {{ access_log off; sendfile on; tcp_nopush on; keepalive_requests 1000000000; keepalive_timeout 600s; server_tokens off;\n\
             types {{ text/html html; application/octet-stream bin; }} gzip on; gzip_types text/plain;\n\
             open_file_cache max=1000 inactive=60s; open_file_cache_valid 60s;\n\
             client_body_temp_path {dir}/tmp; proxy_temp_path {dir}/tmp;\n\
             ssl_certificate {dir}/cert.pem; ssl_certificate_key {dir}/key.pem; \n\
             map $host $backend {{ ~^(?:[a-z0-9-]+(?:-dot-|\\.))?(?:[a-z0-9-]+(?:-dot-|\\.))?other(?:-dot-[a-z0-9-]+)?\\.localhost$ other; default app; }}\n\
             upstream other {{ server 127.0.0.1:9; }}\n\
             upstream app {{ server 127.0.0.1:{upstream} max_conns=80; keepalive 128; keepalive_requests 1000000000; }}\n\
             server {{ listen 127.0.0.1:{http} backlog=4096; listen 127.0.0.1:{tls} ssl http2 backlog=4096; listen 127.0.0.1:{h2c} http2 backlog=4096;\n\
             http2_max_concurrent_streams 128; \n\
             {locations}\
             }} }}\n",
            http = ports.http,
            tls = ports.tls,
            h2c = ports.h2c,
        );
        let path = self.dir.join(format!("{name}.conf"));
        fs::write(&path, config)?;
        Ok(["nginx", "-p", &dir.to_string(), "-c", &path.display().to_string()].map(str::to_owned).to_vec())
    }

    /// haproxy as the front end (it serves no files); returns its command line.
    pub(crate) fn haproxy(&self, ports: Ports, upstream: u16) -> Result<Vec<String>> {
        let dir = self.dir.display();
        let mut rules = String::new();
        for n in 0..PATTERNS - 1 {
            writeln!(rules, "  acl other{n} path_reg ^/svc{n}/(.*)/edit$\n  http-request deny if other{n}")?;
        }
        for name in STRIPPED {
            writeln!(rules, "  http-request del-header {name}")?;
        }
        for (name, value) in [
            ("X-Forwarded-For", "%[src]"),
            ("X-Forwarded-Proto", "http"),
            ("X-Appengine-Country", "ZZ"),
            ("X-Appengine-Region", "?"),
            ("X-Appengine-City", "?"),
            ("X-Appengine-CityLatLong", "0.000000,0.000000"),
            ("X-Appengine-User-IP", "%[src]"),
            ("X-Appengine-Https", "off"),
            ("X-Appengine-Request-Log-Id", "%[uuid()]"),
            ("X-Cloud-Trace-Context", "%[rand(1000000000)]/1"),
            ("X-Appengine-Default-Version-Hostname", "%[req.hdr(host)]"),
            ("X-Appengine-Timeout-Ms", "600000"),
            ("X-Appengine-Api-Ticket", "%[rand(1000000000)]"),
        ] {
            writeln!(rules, "  http-request set-header {name} {value}")?;
        }
        for name in DROPPED.iter().chain(&["Server"]) {
            writeln!(rules, "  http-response del-header {name}")?;
        }
        fs::write(self.dir.join("haproxy.pem"), [fs::read(self.dir.join("cert.pem"))?, fs::read(self.dir.join("key.pem"))?].concat())?;
        let config = format!(
            "global\n  nbthread 1\n  maxconn 8192\n\ndefaults\n  mode http\n  timeout client 600s\n  timeout server 600s\n  timeout connect 5s\n  timeout http-keep-alive 600s\n\
             frontend front\n  bind 127.0.0.1:{http}\n  bind 127.0.0.1:{tls} ssl crt {dir}/haproxy.pem alpn h2,http/1.1\n  bind 127.0.0.1:{h2c} proto h2\n{rules}\
             \x20 http-response set-header Server Development/2.0\n  http-response set-header Cache-Control private\n  http-response set-header Vary Accept-Encoding\n\
             \x20 default_backend app\n\
             backend app\n  http-reuse always\n  server one 127.0.0.1:{upstream} maxconn 80\n",
            http = ports.http,
            tls = ports.tls,
            h2c = ports.h2c,
        );
        let path = self.dir.join("haproxy.cfg");
        fs::write(&path, config)?;
        Ok(["haproxy", "-q", "-f", &path.display().to_string()].map(str::to_owned).to_vec())
    }

    /// The upstream alone, for peers; returns its command line and environment.
    pub(crate) fn upstream_command(&self, port: u16) -> (Vec<String>, Vec<(String, String)>) {
        let script = self.dir.join("app/upstream.sh").display().to_string();
        (vec!["sh".into(), script], vec![("PORT".into(), port.to_string())])
    }
}

/// An app whose last of `patterns` handlers is the app itself and whose last but one are the static files. It has one instance, as each peer has one
/// upstream: with three of them on the load's core, each request wakes more processes, and the front end pays for that.
pub(crate) fn app_yaml(patterns: usize) -> String {
    let mut text =
        "runtime: nodejs20\nentrypoint: sh upstream.sh\nautomatic_scaling:\n  max_instances: 1\n  max_concurrent_requests: 80\nhandlers:\n"
            .to_owned();
    for n in 0..patterns - 2 {
        text.push_str("- url: /svc");
        text.push_str(&n.to_string());
        text.push_str("/(.*)/edit\n  script: auto\n");
    }
    text + "- url: /static\n  static_dir: static\n- url: /.*\n  script: auto\n"
}
