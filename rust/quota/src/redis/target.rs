//! What a URL of the quota store names: one server, a group behind Sentinel, or a cluster.

use ::redis::{
    Client, ConnectionAddr, ConnectionInfo, IntoConnectionInfo as _, ProtocolVersion,
    RedisConnectionInfo, TlsCertificates,
};

const FORMS: &str = "give redis://[user:password@]host[:port][/database], \
    unix:///path[?db=&user=&pass=], \
    redis+sentinel://[user:password@]host[:port],.../master[/database][?sentinel_user=&sentinel_password=] \
    or redis+cluster://[user:password@]host[:port],..., with rediss for TLS, and special characters in \
    names and passwords percent-encoded";

const PORT: u16 = 6379;
const SENTINEL_PORT: u16 = 26379;

/// Where accounts are kept.
#[derive(Debug)]
pub(super) enum Target {
    /// One server.
    Single(ConnectionInfo),
    /// The primary that sentinels name.
    Sentinel {
        /// The sentinels, in the order of the URL.
        sentinels: Vec<ConnectionInfo>,
        /// What they call the group.
        master: String,
        /// How the primary is spoken to.
        node: Node,
    },
    /// The nodes of a cluster.
    Cluster {
        /// Those that the URL names.
        seeds: Vec<ConnectionInfo>,
        /// How any of them is spoken to.
        node: Node,
    },
}

impl Target {
    /// What `url` names. `ca_pem` are the certificates trusted instead of the system's.
    ///
    /// # Errors
    /// What is wrong and which forms there are, without any part of the URL.
    pub(super) fn parse(url: &str, ca_pem: Option<&[u8]>) -> Result<Self, String> {
        Parts::of(url)
            .and_then(|parts| parts.target(ca_pem))
            .map_err(|cause| format!("{cause}; {FORMS}"))
    }
}

/// How a server is spoken to, wherever it is.
#[derive(Clone, Debug)]
pub(super) struct Node {
    template: ConnectionInfo,
}

impl Node {
    /// `ca_pem` if not only the system's certificates are trusted; `tls` if the connection is encrypted.
    fn new(
        settings: RedisConnectionInfo,
        tls: bool,
        ca_pem: Option<&[u8]>,
    ) -> Result<Self, String> {
        let (host, port) = (String::new(), 0);
        let address = if tls {
            ConnectionAddr::TcpTls {
                host,
                port,
                insecure: false,
                tls_params: None,
            }
        } else {
            ConnectionAddr::Tcp(host, port)
        };
        let mut template = address
            .into_connection_info()
            .map_err(|error| error.to_string())?;
        if let Some(pem) = ca_pem {
            if !tls {
                return Err("certificates are given, but the URL is not one of TLS".into());
            }
            let certificates = TlsCertificates {
                client_tls: None,
                root_cert: Some(pem.to_vec()),
            };
            let client = Client::build_with_tls(template, certificates);
            let client = client.map_err(|error| error.to_string())?;
            template = client.get_connection_info().clone();
        }
        // Without `nodelay`, a call waits for the one before it. RESP3 because only there a connection tells that
        // it has broken. The library's name is not sent: it would need a right of its own.
        let tcp_settings = template.tcp_settings().clone().set_nodelay(true);
        let settings = settings
            .set_protocol(ProtocolVersion::RESP3)
            .set_skip_set_lib_name();
        Ok(Self {
            template: template
                .set_tcp_settings(tcp_settings)
                .set_redis_settings(settings),
        })
    }

    /// The server at this place.
    pub(super) fn at(&self, host: impl Into<String>, port: u16) -> ConnectionInfo {
        let host = host.into();
        let address = match self.template.addr() {
            ConnectionAddr::TcpTls { tls_params, .. } => ConnectionAddr::TcpTls {
                host,
                port,
                insecure: false,
                tls_params: tls_params.clone(),
            },
            _ => ConnectionAddr::Tcp(host, port),
        };
        self.template.clone().set_addr(address)
    }

    fn at_socket(&self, path: String) -> ConnectionInfo {
        let address = ConnectionAddr::Unix(path.into());
        self.template.clone().set_addr(address)
    }
}

/// A URL, taken apart and otherwise as it is written.
///
/// Not the `url` crate's: that knows neither several hosts nor which part of a URL is secret.
struct Parts<'a> {
    shape: &'a str,
    tls: bool,
    credentials: Option<&'a str>,
    hosts: &'a str,
    path: &'a str,
    query: Vec<(&'a str, &'a str)>,
}

impl<'a> Parts<'a> {
    fn of(url: &'a str) -> Result<Self, String> {
        let (scheme, rest) = url.split_once("://").ok_or("it has no scheme")?;
        let (base, shape) = scheme.split_once('+').unwrap_or((scheme, ""));
        let (tls, shape) = match (base, shape) {
            ("unix", "") | ("redis" | "valkey", "unix") => (false, "unix"),
            ("redis" | "valkey", "" | "sentinel" | "cluster") => (false, shape),
            ("rediss" | "valkeys", "" | "sentinel" | "cluster") => (true, shape),
            _ => return Err("its scheme is none of Redis".into()),
        };
        match rest.split_once('#') {
            None => {}
            Some((_, "insecure")) => {
                return Err("#insecure is not supported, set a CA file instead".into());
            }
            Some(_) => return Err("it contains a #".into()),
        }
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (credentials, hosts) = match authority.rsplit_once('@') {
            Some((credentials, hosts)) => (Some(credentials), hosts),
            None => (None, authority),
        };
        let query = query.split('&').filter(|part| !part.is_empty());
        Ok(Self {
            shape,
            tls,
            credentials,
            hosts,
            path,
            query: query
                .map(|part| part.split_once('=').unwrap_or((part, "")))
                .collect(),
        })
    }

    fn target(&self, ca_pem: Option<&[u8]>) -> Result<Target, String> {
        match self.shape {
            "unix" => {
                self.has_only(&["db", "user", "pass"])?;
                if self.credentials.is_some() || !self.hosts.is_empty() || self.path.is_empty() {
                    return Err("the path of the socket does not follow ///".into());
                }
                let settings =
                    settings(self.value("user")?, self.value("pass")?, self.value("db")?)?;
                let path = format!("/{}", decoded(self.path)?);
                let node = Node::new(settings, false, ca_pem)?;
                Ok(Target::Single(node.at_socket(path)))
            }
            "sentinel" => {
                self.has_only(&["sentinel_user", "sentinel_password"])?;
                let (master, database) = self.path.split_once('/').unwrap_or((self.path, ""));
                let master = decoded(master)?;
                if master.is_empty() {
                    return Err("the name of the master does not follow the sentinels".into());
                }
                let watcher = settings(
                    self.value("sentinel_user")?,
                    self.value("sentinel_password")?,
                    None,
                )?;
                let watcher = Node::new(watcher, self.tls, ca_pem)?;
                Ok(Target::Sentinel {
                    sentinels: self.places(&watcher, SENTINEL_PORT)?,
                    master,
                    node: Node::new(self.settings(database)?, self.tls, ca_pem)?,
                })
            }
            "cluster" => {
                self.has_only(&[])?;
                if !matches!(self.path, "" | "0") {
                    return Err("a cluster has no other database than 0".into());
                }
                let node = Node::new(self.settings("")?, self.tls, ca_pem)?;
                Ok(Target::Cluster {
                    seeds: self.places(&node, PORT)?,
                    node,
                })
            }
            _ => {
                self.has_only(&[])?;
                let node = Node::new(self.settings(self.path)?, self.tls, ca_pem)?;
                let mut places = self.places(&node, PORT)?;
                match (places.pop(), places.is_empty()) {
                    (Some(place), true) => Ok(Target::Single(place)),
                    _ => Err("several hosts need redis+sentinel or redis+cluster".into()),
                }
            }
        }
    }

    fn settings(&self, database: &str) -> Result<RedisConnectionInfo, String> {
        let (user, password) = match self.credentials.map(|pair| pair.split_once(':')) {
            None => (None, None),
            Some(None) => return Err("there is an @, but no user:password before it".into()),
            Some(Some((user, password))) => (Some(decoded(user)?), Some(decoded(password)?)),
        };
        let database = (!database.is_empty()).then(|| database.to_owned());
        settings(user, password, database)
    }

    fn places(&self, node: &Node, port: u16) -> Result<Vec<ConnectionInfo>, String> {
        self.hosts
            .split(',')
            .map(|place| host_and_port(place, port).map(|(host, port)| node.at(host, port)))
            .collect()
    }

    fn value(&self, name: &str) -> Result<Option<String>, String> {
        let value = self.query.iter().find(|(key, _)| *key == name);
        value.map(|(_, value)| decoded(value)).transpose()
    }

    fn has_only(&self, names: &[&str]) -> Result<(), String> {
        if self.query.iter().all(|(name, _)| names.contains(name)) {
            Ok(())
        } else {
            Err("it has a parameter after ? that is not known".into())
        }
    }
}

fn settings(
    user: Option<String>,
    password: Option<String>,
    database: Option<String>,
) -> Result<RedisConnectionInfo, String> {
    let mut settings = RedisConnectionInfo::default();
    let user = user.filter(|user| !user.is_empty());
    match (user, password.filter(|password| !password.is_empty())) {
        (Some(user), Some(password)) => {
            settings = settings.set_username(user).set_password(password);
        }
        (None, Some(password)) => settings = settings.set_password(password),
        (Some(_), None) => return Err("there is a user without a password".into()),
        (None, None) => {}
    }
    if let Some(database) = database {
        let number: u32 = database
            .parse()
            .map_err(|_| "the database is not a number")?;
        settings = settings.set_db(number.into());
    }
    Ok(settings)
}

fn host_and_port(place: &str, port: u16) -> Result<(&str, u16), String> {
    let (host, port_text) = match place.strip_prefix('[') {
        Some(rest) => {
            let (host, rest) = rest.split_once(']').ok_or("a [ is not closed")?;
            match (rest, rest.strip_prefix(':')) {
                ("", _) => (host, None),
                (_, Some(port)) => (host, Some(port)),
                _ => return Err("a ] is not followed by a port".into()),
            }
        }
        None => match place.split_once(':') {
            Some((_, rest)) if rest.contains(':') => {
                return Err("an address of IPv6 is not in brackets".into());
            }
            Some((host, port)) => (host, Some(port)),
            None => (place, None),
        },
    };
    if host.is_empty() {
        return Err("a host is missing".into());
    }
    let port = match port_text {
        None => port,
        Some(text) => match text.parse() {
            Ok(port) if port > 0 => port,
            _ => return Err("a port is not a number from 1 to 65535".into()),
        },
    };
    Ok((host, port))
}

fn decoded(text: &str) -> Result<String, String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let mut digit = || char::from(rest.next()?).to_digit(16);
            let (high, low) = digit()
                .zip(digit())
                .ok_or("a % is not followed by two hexadecimal digits")?;
            bytes.extend(u8::try_from(high * 16 + low));
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).map_err(|_| "a percent-encoded part is not UTF-8".into())
}

#[cfg(test)]
mod tests;
