//! Where events go: the target's name on the command line.
//!
//! Not here: whether it can be written.

use std::fmt;
use std::path::PathBuf;

/// A place for events, and their encoding there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EventTarget {
    /// One file of JSON Lines, as the stream has them.
    Jsonl(PathBuf),
    /// A Windows event log, rotated by size.
    Evt(PathBuf),
    /// Messages of RFC 5424, one a line.
    SyslogFile(PathBuf),
    /// The same, one a datagram, to `HOST:PORT`.
    SyslogUdp(String),
    /// The same, with their length before each (RFC 6587), to `HOST:PORT`.
    SyslogTcp(String),
    /// The same, one a datagram, to a local socket.
    SyslogUnix(PathBuf),
    /// The original's SESSION.LOG.
    SessionLog(PathBuf),
    /// The original's SYSTEM.LOG.
    SystemLog(PathBuf),
}

impl EventTarget {
    /// What [`Self::parse`] reads, for people.
    pub const FORMS: &str = "jsonl:FILE, evt:FILE, session-log:FILE, system-log:FILE, \
                             syslog:FILE, syslog:udp://HOST:PORT, syslog:tcp://HOST:PORT, \
                             syslog:unix:PATH";

    /// Reads one of [`Self::FORMS`]. `None`: it isn't that.
    pub fn parse(spec: &str) -> Option<Self> {
        let (form, rest) = spec.split_once(':')?;
        let is_host = |text: &str| {
            text.rsplit_once(':').is_some_and(|(host, port)| {
                !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port > 0)
            })
        };
        if rest.is_empty() {
            return None;
        }
        if form == "syslog" {
            if let Some(to) = rest.strip_prefix("udp://") {
                return is_host(to).then(|| Self::SyslogUdp(to.to_owned()));
            }
            if let Some(to) = rest.strip_prefix("tcp://") {
                return is_host(to).then(|| Self::SyslogTcp(to.to_owned()));
            }
            if let Some(path) = rest.strip_prefix("unix:") {
                return (!path.is_empty()).then(|| Self::SyslogUnix(path.into()));
            }
        }
        let path = PathBuf::from(rest);
        match form {
            "jsonl" => Some(Self::Jsonl(path)),
            "evt" => Some(Self::Evt(path)),
            "syslog" => Some(Self::SyslogFile(path)),
            "session-log" => Some(Self::SessionLog(path)),
            "system-log" => Some(Self::SystemLog(path)),
            _ => None,
        }
    }

    /// True where events can be written while they come to be: what a run can log to.
    pub const fn is_live(&self) -> bool {
        !matches!(self, Self::Jsonl(_) | Self::SessionLog(_) | Self::SystemLog(_))
    }
}

impl fmt::Display for EventTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Jsonl(path)
            | Self::Evt(path)
            | Self::SyslogFile(path)
            | Self::SyslogUnix(path)
            | Self::SessionLog(path)
            | Self::SystemLog(path) => path.display().fmt(f),
            Self::SyslogUdp(to) => write!(f, "udp://{to}"),
            Self::SyslogTcp(to) => write!(f, "tcp://{to}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_read() {
        use EventTarget as T;
        for (spec, target) in [
            ("jsonl:a:b", Some(T::Jsonl("a:b".into()))),
            ("evt:/a/x.evt", Some(T::Evt("/a/x.evt".into()))),
            ("syslog:x", Some(T::SyslogFile("x".into()))),
            ("syslog:udp://[::1]:514", Some(T::SyslogUdp("[::1]:514".to_owned()))),
            ("syslog:tcp://host:601", Some(T::SyslogTcp("host:601".to_owned()))),
            ("syslog:unix:/dev/log", Some(T::SyslogUnix("/dev/log".into()))),
            ("session-log:S", Some(T::SessionLog("S".into()))),
            ("system-log:S", Some(T::SystemLog("S".into()))),
            ("syslog:tcp://host", None),
            ("syslog:udp://:514", None),
            ("syslog:udp://host:0", None),
            ("syslog:udp://host:65536", None),
            ("syslog:unix:", None),
            ("evt:", None),
            ("x.evt", None),
            ("xml:x", None),
        ] {
            assert_eq!(T::parse(spec), target, "{spec}");
        }
    }
}
