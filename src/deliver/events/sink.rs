//! Writers of events: files of lines, Windows event logs, sockets of syslog.
//!
//! Not here: which events come, and in what order. A line that is no event is told to the caller
//! and costs nothing that was written. Nothing waits for a receiver for longer than
//! [`limits::SOCKET_WAIT_S`].

use super::evt_files::EvtFiles;
use super::target::EventTarget;
use crate::deliver::DeliverError;
use crate::deliver::target::Place;
use crate::event::logs::{Session, System};
use crate::event::syslog;
use crate::event::told::Told;
use crate::limits;
use crate::spool::private;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, BufRead as _, BufReader, BufWriter, Write as _};
use std::net::{TcpStream, ToSocketAddrs as _, UdpSocket};
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What a writer needs to know of its run.
#[derive(Clone, Copy, Debug)]
pub(super) struct Options<'o> {
    pub(super) hostname: &'o str,
    /// Bytes of one file of an event log.
    pub(super) log_bytes: u64,
}

/// A writer.
#[derive(Debug)]
pub(super) struct Sink {
    kind: Kind,
    hostname: String,
    line: Vec<u8>,
    bytes: u64,
}

#[derive(Debug)]
enum Kind {
    Evt(EvtFiles),
    File(Lines, Encoding),
    Socket(Socket, String),
}

/// What stands in a file of lines.
#[derive(Debug)]
enum Encoding {
    Json,
    Syslog,
    Session(Session),
    System(System),
}

/// A file of lines.
#[derive(Debug)]
struct Lines {
    out: BufWriter<File>,
    path: PathBuf,
    /// Where it gets its name when it is whole; none for a live one.
    place: Option<Place>,
}

#[derive(Debug)]
enum Socket {
    Udp(UdpSocket),
    Tcp(BufWriter<TcpStream>),
    Unix(UnixDatagram),
}

/// How far a live log is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Done {
    /// Events that it has.
    pub(super) events: u64,
    /// What it has of the last.
    pub(super) last: Option<Last>,
}

/// The last event of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Last {
    /// Its id.
    Id(String),
    /// Its line.
    Line(Vec<u8>),
}

impl Sink {
    /// A target that is made new, and has its name when it is whole.
    pub(super) fn create(target: &EventTarget, options: Options<'_>) -> Result<Self, DeliverError> {
        let lines = |path: &Path, encoding| Ok(Kind::File(Lines::create(path)?, encoding));
        let kind = match target {
            EventTarget::Jsonl(path) => lines(path, Encoding::Json),
            EventTarget::SyslogFile(path) => lines(path, Encoding::Syslog),
            EventTarget::SessionLog(path) => lines(path, Encoding::Session(Session::default())),
            EventTarget::SystemLog(path) => lines(path, Encoding::System(System::default())),
            EventTarget::Evt(path) => {
                EvtFiles::create(path, options.log_bytes, options.hostname).map(Kind::Evt)
            }
            _ => Socket::connect(target).map(|socket| Kind::Socket(socket, target.to_string())),
        };
        Ok(Self::new(kind?, options))
    }

    /// A live log, new or as it was left. What a socket has taken it doesn't tell: `events` is 0.
    pub(super) fn open(
        target: &EventTarget,
        options: Options<'_>,
    ) -> Result<(Self, Done), DeliverError> {
        let (kind, done) = match target {
            EventTarget::Evt(path) => {
                let (log, events, id) = EvtFiles::open(path, options.log_bytes, options.hostname)?;
                (Kind::Evt(log), Done { events, last: id.map(Last::Id) })
            }
            EventTarget::SyslogFile(path) => {
                let (lines, events, line) = Lines::open(path)?;
                (Kind::File(lines, Encoding::Syslog), Done { events, last: line.map(Last::Line) })
            }
            _ => {
                let socket = Socket::connect(target)?;
                (Kind::Socket(socket, target.to_string()), Done::default())
            }
        };
        Ok((Self::new(kind, options), done))
    }

    fn new(kind: Kind, options: Options<'_>) -> Self {
        Self { kind, hostname: options.hostname.to_owned(), line: Vec::new(), bytes: 0 }
    }

    /// Writes an event, given as its line. False: it is none.
    pub(super) fn event(&mut self, json: &[u8]) -> Result<bool, DeliverError> {
        self.line.clear();
        if let Kind::File(lines, Encoding::Json) = &mut self.kind {
            self.bytes += json.len() as u64;
            lines.write(json)?;
            return Ok(true);
        }
        let Some(told) = Told::parse(json) else { return Ok(false) };
        match &mut self.kind {
            Kind::Evt(log) => log.event(&told)?,
            Kind::File(lines, encoding) => {
                match encoding {
                    Encoding::Json => {}
                    Encoding::Syslog => {
                        syslog::append(&mut self.line, &told, &self.hostname);
                        self.line.push(b'\n');
                    }
                    Encoding::Session(log) => log.append(&mut self.line, &told, &self.hostname),
                    Encoding::System(log) => log.append(&mut self.line, &told),
                }
                lines.write(&self.line)?;
            }
            Kind::Socket(socket, name) => {
                let sent = socket.send(&mut self.line, &told, &self.hostname);
                sent.map_err(|source| DeliverError::Send { to: name.clone(), source })?;
            }
        }
        self.bytes += self.line.len() as u64;
        Ok(true)
    }

    /// True where this event is the one that a log ends with.
    pub(super) fn is_last(&self, json: &[u8], last: &Last) -> bool {
        let Some(told) = Told::parse(json) else { return false };
        match last {
            Last::Id(id) => *id == told.id(),
            Last::Line(line) => {
                let mut expect = Vec::new();
                syslog::append(&mut expect, &told, &self.hostname);
                expect.push(b'\n');
                expect == *line
            }
        }
    }

    /// Writes out what is in hand.
    pub(super) fn flush(&mut self) -> Result<(), DeliverError> {
        match &mut self.kind {
            Kind::Evt(log) => log.flush(),
            Kind::File(lines, _) => lines.out.flush().map_err(|source| lines.failed(source)),
            Kind::Socket(Socket::Tcp(stream), name) => {
                let flushed = stream.flush();
                flushed.map_err(|source| DeliverError::Send { to: name.clone(), source })
            }
            Kind::Socket(..) => Ok(()),
        }
    }

    /// Ends it; gives the bytes that were written.
    pub(super) fn finish(mut self) -> Result<u64, DeliverError> {
        self.line.clear();
        self.flush()?;
        match self.kind {
            Kind::Evt(log) => return log.finish(),
            Kind::File(mut lines, mut encoding) => {
                match &mut encoding {
                    Encoding::Session(log) => log.finish(&mut self.line),
                    Encoding::System(log) => log.finish(&mut self.line),
                    Encoding::Json | Encoding::Syslog => {}
                }
                lines.write(&self.line)?;
                self.bytes += self.line.len() as u64;
                lines.finish()?;
            }
            Kind::Socket(..) => {}
        }
        Ok(self.bytes)
    }
}

/// Keeps other processes from writing the same log.
pub(super) fn lock(file: &File) -> io::Result<()> {
    file.try_lock().map_err(|error| match error {
        TryLockError::WouldBlock => {
            io::Error::new(io::ErrorKind::ResourceBusy, "another process writes it")
        }
        TryLockError::Error(error) => error,
    })
}

impl Lines {
    fn create(path: &Path) -> Result<Self, DeliverError> {
        let place = Place::check(path, false)?;
        let file = private::create_new(place.partial()).map_err(|source| place.failed(source))?;
        Ok(Self::new(file, path, Some(place)))
    }

    fn new(file: File, path: &Path, place: Option<Place>) -> Self {
        let out = BufWriter::with_capacity(limits::BUFFER_BYTES, file);
        Self { out, path: path.to_owned(), place }
    }

    /// Opens a live file; gives how many whole lines it has, and the last. A torn one is cut off.
    fn open(path: &Path) -> Result<(Self, u64, Option<Vec<u8>>), DeliverError> {
        let failed = |source| DeliverError::Write { path: path.to_owned(), source };
        let mut options = OpenOptions::new();
        options.read(true).append(true).create(true).mode(private::FILE_MODE);
        let file = options.open(path).map_err(failed)?;
        lock(&file).map_err(failed)?;
        let mut reader = BufReader::with_capacity(limits::BUFFER_BYTES, &file);
        let (mut lines, mut length, mut line, mut last) = (0, 0, Vec::new(), None);
        loop {
            line.clear();
            let read = reader.read_until(b'\n', &mut line).map_err(failed)?;
            let is_whole = line.last() == Some(&b'\n');
            let is_ours = line.first() == Some(&b'<')
                && (!is_whole || memchr::memmem::find(&line, syslog::MARK).is_some());
            if read > 0 && !is_ours {
                return Err(DeliverError::NotALog { path: path.to_owned() });
            }
            if !is_whole {
                break;
            }
            lines += 1;
            length += read as u64;
            last.get_or_insert_with(Vec::new).clone_from(&line);
        }
        file.set_len(length).map_err(failed)?;
        Ok((Self::new(file, path, None), lines, last))
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), DeliverError> {
        self.out.write_all(bytes).map_err(|source| self.failed(source))
    }

    fn finish(mut self) -> Result<(), DeliverError> {
        let synced = self.out.flush().and_then(|()| self.out.get_ref().sync_all());
        synced.map_err(|source| self.failed(source))?;
        self.place.as_ref().map_or(Ok(()), Place::finish)
    }

    fn failed(&self, source: io::Error) -> DeliverError {
        match &self.place {
            Some(place) => place.failed(source),
            None => DeliverError::Write { path: self.path.clone(), source },
        }
    }
}

impl Socket {
    fn connect(target: &EventTarget) -> Result<Self, DeliverError> {
        let connected = match target {
            EventTarget::SyslogUdp(to) => Self::udp(to),
            EventTarget::SyslogTcp(to) => Self::tcp(to),
            EventTarget::SyslogUnix(path) => Self::unix(path),
            _ => Err(io::ErrorKind::Unsupported.into()),
        };
        connected.map_err(|source| DeliverError::Send { to: target.to_string(), source })
    }

    fn udp(to: &str) -> io::Result<Self> {
        let mut failed = io::Error::from(io::ErrorKind::AddrNotAvailable);
        for address in to.to_socket_addrs()? {
            let own = if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
            let connect = || {
                let socket = UdpSocket::bind(own)?;
                socket.connect(address)?;
                Ok(Self::Udp(socket))
            };
            match connect() {
                Ok(socket) => return Ok(socket),
                Err(error) => failed = error,
            }
        }
        Err(failed)
    }

    fn tcp(to: &str) -> io::Result<Self> {
        let wait = Duration::from_secs(limits::SOCKET_WAIT_S);
        let mut failed = io::Error::from(io::ErrorKind::AddrNotAvailable);
        for address in to.to_socket_addrs()? {
            match TcpStream::connect_timeout(&address, wait) {
                Ok(stream) => {
                    stream.set_write_timeout(Some(wait))?;
                    return Ok(Self::Tcp(BufWriter::new(stream)));
                }
                Err(error) => failed = error,
            }
        }
        Err(failed)
    }

    fn unix(path: &Path) -> io::Result<Self> {
        let socket = UnixDatagram::unbound()?;
        socket.connect(path)?;
        socket.set_write_timeout(Some(Duration::from_secs(limits::SOCKET_WAIT_S)))?;
        Ok(Self::Unix(socket))
    }

    fn send(&mut self, line: &mut Vec<u8>, told: &Told, hostname: &str) -> io::Result<()> {
        match self {
            Self::Udp(socket) => {
                syslog::append(line, told, hostname);
                socket.send(line).map(|_| ())
            }
            Self::Unix(socket) => {
                syslog::append(line, told, hostname);
                socket.send(line).map(|_| ())
            }
            Self::Tcp(stream) => {
                syslog::append_counted(line, told, hostname);
                stream.write_all(line)
            }
        }
    }
}
