//! `inqueue run`: processes queues into a folder of streams, or goes on where a run was left.
//!
//! Here: the options, the signals, progress and the summary. Not here: any of the work. The clock
//! of the machine and its name are asked once (`options`); everything behind takes them as values.

use crate::drain;
use crate::events::{live_target, log_size};
use crate::options::{self, Recipients, size, time};
use crate::output;
use anyhow::bail;
use clap::{Args, ValueEnum};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use inqueue::decide::{Policy, Remote};
use inqueue::deliver::drain::{Drained, Locks};
use inqueue::deliver::{EventTarget, Follow, Logged};
use inqueue::directory::Directory;
use inqueue::engine::{self, Fence, Progress, Request, Run, Settings, Stop, Summary};
use inqueue::limits;
use inqueue::mail::address::Mailbox;
use inqueue::mail::date::Time;
use inqueue::queue::files::FileList;
use inqueue::queue::{Format, Queue};
use inqueue::spool::plan::{Accepted, Program};
use inqueue::spool::{Counts, Sync};
use signal_hook::consts::{SIGINT, SIGTERM};
use std::io::{self, BufWriter, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// Processes queues; run it again after a crash, and it goes on.
#[derive(Args, Clone, Debug)]
pub(crate) struct RunArgs {
    /// Queues: a path, or FORMAT:PATH with segment, mbox (mboxrd, mboxo, mboxcl, mboxcl2), maildir,
    /// eml, postoffice or ffapi
    #[arg(required = true, value_name = "QUEUE")]
    pub(crate) queues: Vec<String>,
    /// File of known addresses (docs/directory.md); not needed for post offices, which know their
    /// own
    #[arg(long, value_name = "FILE")]
    pub(crate) directory: Option<PathBuf>,
    /// Folder of the run: made if it isn't there; where it holds this run, the run goes on
    #[arg(long, value_name = "RUN")]
    pub(crate) out: PathBuf,
    /// Workers; as many as processors when not given
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=limits::WORKERS_MAX as i64))]
    workers: Option<u16>,
    /// Bytes of the queue in one part, as 65536, 64K, 32M; about 1/64 of the queue when not given
    #[arg(long, value_name = "BYTES", value_parser = size)]
    part_size: Option<u64>,
    /// The clock, RFC 3339: for runs that can be repeated to the byte
    #[arg(long, value_name = "TIME", value_parser = time)]
    now: Option<Time>,
    /// Name of this system in reports and traces
    #[arg(long, value_name = "NAME", value_parser = hostname)]
    hostname: Option<String>,
    /// When what is written must be on the disk
    #[arg(long, value_enum, default_value_t = SyncArg::Commit)]
    sync: SyncArg,
    /// Mail for domains that the directory doesn't name
    #[arg(long, value_enum, default_value_t = RemoteArg::Relay)]
    remote: RemoteArg,
    /// Hops after which a message is taken to go round in a loop
    #[arg(long, value_name = "N", default_value_t = limits::HOPS_MAX)]
    hops: u32,
    /// How long transient failures are tried again for, from the arrival, as 5d, 36h, 90m, 300
    /// (seconds)
    #[arg(long, value_name = "TIME", default_value = "5d", value_parser = lifetime)]
    lifetime: i64,
    /// What the accepted stream has of messages
    #[arg(long, value_enum, default_value_t = AcceptedArg::Copy)]
    accepted: AcceptedArg,
    #[command(flatten)]
    recipients: Recipients,
    #[command(flatten)]
    fence: FenceArgs,
    /// Logs events as parts are committed: evt:FILE, syslog:FILE, syslog:udp://HOST:PORT,
    /// syslog:tcp://HOST:PORT, syslog:unix:PATH (docs/events.md). A log that fails never stops the
    /// run
    #[arg(long, value_name = "FORM:TARGET", value_parser = live_target)]
    log: Option<EventTarget>,
    /// Bytes of one file of a Windows event log, as 1M, 64M: then the next is begun
    #[arg(long, value_name = "BYTES", value_parser = log_size, default_value_t = limits::LOG_BYTES)]
    log_size: u64,
    /// Takes what is committed out of the queue, and delivers it into its mailbags (post offices
    /// alone)
    #[arg(long)]
    pub(crate) drain: bool,
    /// Says nothing but errors
    #[arg(long, short)]
    pub(crate) quiet: bool,
    /// Says what was done as one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

/// How the engine is watched.
#[derive(Args, Clone, Debug)]
struct FenceArgs {
    /// What a message may take, as 10s, 500ms, 2m: one that takes longer is quarantined. Large ones
    /// have more time
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = duration)]
    message_timeout: Duration,
    /// Memory that the engine may take, as 512M, 4G; half of the machine's when not given. A
    /// message that needs more is quarantined
    #[arg(long, value_name = "BYTES", value_parser = size)]
    memory_limit: Option<u64>,
    /// The same fault on so many messages in a row, or on half of a thousand, ends the run: the
    /// program or the machine is broken, not the mail. 0: never
    #[arg(long, value_name = "N", default_value_t = limits::BREAKER)]
    breaker: u32,
    /// Works in this process, under whatever watches over it: a message that kills it is not found
    #[arg(long, conflicts_with_all = ["message_timeout", "memory_limit"])]
    no_supervisor: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum SyncArg {
    /// Before a part counts as done
    Commit,
    /// At the end of the run
    End,
    /// When the system likes
    Never,
}

impl From<SyncArg> for Sync {
    fn from(arg: SyncArg) -> Self {
        match arg {
            SyncArg::Commit => Self::Commit,
            SyncArg::End => Self::End,
            SyncArg::Never => Self::Never,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum AcceptedArg {
    /// All of their contents
    Copy,
    /// Where their contents lie: they stay in the queue, which has to stay as it is
    Refer,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum RemoteArg {
    /// Is relayed
    Relay,
    /// Has failed (5.1.2)
    Fail,
}

fn hostname(text: &str) -> Result<String, String> {
    let path = format!("postmaster@{text}");
    match Mailbox::parse(path.as_bytes()) {
        Ok(mailbox) if mailbox.domain == text.as_bytes() && text.is_ascii() => Ok(text.to_owned()),
        _ => Err("not a domain, as mail.example.org".to_owned()),
    }
}

fn lifetime(text: &str) -> Result<i64, String> {
    let unit_s = match text.bytes().last() {
        Some(b'd') => 86_400,
        Some(b'h') => 3_600,
        Some(b'm') => 60,
        _ => 1,
    };
    let digits = text.trim_end_matches(['d', 'h', 'm']);
    let number: u32 = digits.parse().map_err(|_| "not a time, as 5d, 36h, 90m, 300".to_owned())?;
    Ok(i64::from(number) * unit_s)
}

/// A duration, as 10s, 500ms, 2m, 30 (seconds).
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit_ms = match &text[digits.len()..] {
        "ms" => 1,
        "" | "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => 0,
    };
    match digits.parse::<u32>().map(|number| u64::from(number) * unit_ms) {
        Ok(ms) if ms > 0 => Ok(Duration::from_millis(ms)),
        _ => Err("not a time, as 10s, 500ms, 2m, 30 (seconds)".to_owned()),
    }
}

/// What a run works on: opened before it has a process that may have one thread alone.
struct Opened {
    run: Run,
    directory: Directory,
    /// Of post offices that will be drained; given back when all is done.
    _locks: Option<Locks>,
}

/// Opens all that is asked for; nothing where the directory is missing.
fn open(args: &RunArgs) -> anyhow::Result<Option<Opened>> {
    let open = || args.queues.iter().map(|spec| Queue::open(spec)).collect::<Result<Vec<_>, _>>();
    let mut queues = open()?;
    let mut locks = None;
    if args.drain {
        locks = Some(drain::lock(&queues, &args.out, options::now(None)?)?);
        // What came in before the lock was taken belongs to it.
        queues = open()?;
    }
    if !args.quiet {
        tell_passed_over(&queues);
    }
    let directory = match &args.directory {
        Some(path) => load(path)?,
        None if knows_itself(&queues) => Directory::default(),
        None => return Ok(None),
    };
    let run = Run::begin(&args.out, request(args, queues)?, &directory, args.sync.into())?;
    if let Some(other) = run.begun_by_another().filter(|_| !args.quiet) {
        let (out, own) = (args.out.display(), Program::own().text());
        let what = "parts done from here on may differ from what that would have written";
        output::tell(&format!("{out}: begun by {other}, this is {own}: {what}"));
    }
    Ok(Some(Opened { run, directory, _locks: locks }))
}

/// A large page is cleared whole when its first byte is touched: most of a small run's time, and a
/// quarter of any run's memory. Where they can't be refused it goes on with them.
fn refuse_large_pages(is_refused: bool) {
    let _ = rustix::thread::disable_transparent_huge_pages(is_refused);
}

/// A large directory is in large pages: it is read sooner, and what a process costs that is split
/// off, page by page of the memory that is there, doesn't grow with it.
fn load(path: &Path) -> anyhow::Result<Directory> {
    let is_large = path.metadata().is_ok_and(|file| file.len() >= limits::DIRECTORY_LARGE_BYTES);
    refuse_large_pages(!is_large);
    let directory = Directory::load(path);
    refuse_large_pages(true);
    Ok(directory?)
}

pub(crate) fn run(args: &RunArgs) -> anyhow::Result<ExitCode> {
    let started = Instant::now();
    if args.drain && args.accepted == AcceptedArg::Refer {
        let what = "--drain takes messages out of the queue, --accepted refer leaves them there";
        return Ok(output::usage(&format!("{what} (leave one of them out)")));
    }
    refuse_large_pages(true);
    let stop = listen()?;
    #[cfg(feature = "fault-injection")]
    crate::simulate::begin(&args.out)?;
    let Some(Opened { mut run, directory, _locks }) = engine::alone(|| open(args))?? else {
        return Ok(output::usage("--directory is needed: the queue doesn't say who exists"));
    };
    let bar = bar(args, &run);
    let sync = args.sync.into();
    let workers = args.workers.map(usize::from);
    let settings = Settings { workers, sync, breaker: args.fence.breaker, stop: &stop };
    let mut log = args.log.as_ref().map(|target| Follow::begin(&args.out, target, args.log_size));
    let mut done = 0;
    let mut before = None;
    let mut tell = |progress: &Progress| {
        // What was heard of as committed may be taken back: less is done then than at the first.
        let first = before.get_or_insert(progress.bytes);
        *first = progress.bytes.min(*first);
        done = progress.bytes - *first;
        bar.set_position(progress.bytes);
        bar.set_message(format!("{} messages", progress.counts.messages));
        if let Some(log) = &mut log {
            log.advance();
        }
    };
    let summary = if args.fence.no_supervisor {
        engine::run(&mut run, &directory, settings, &mut tell)?
    } else {
        engine::supervise(&mut run, &directory, settings, &fence(&args.fence), &mut tell)?
    };
    let log = log.map(|log| log.finish(summary.finished));
    bar.finish_and_clear();
    let is_drained = args.drain && summary.finished;
    let drained = is_drained.then(|| drain::drain(&args.out, sync, workers)).transpose()?;
    let seconds = started.elapsed().as_secs_f64();
    let drained_counts = drained.as_ref().map(|(drained, _)| drained);
    if args.json {
        print_json(args, &run, &summary, log.as_ref(), drained_counts)?;
    } else if !args.quiet {
        print_table(&args.out, &run, &summary, (done, seconds))?;
        if let Some(drained) = drained_counts {
            writeln!(io::stdout().lock(), "{}", drain::table(drained))?;
        }
    }
    if let Some(Logged { missing, error: Some(error), .. }) = &log {
        output::tell(&format!("events not logged: {missing}: {error}"));
    }
    match drained {
        Some((_, false)) => Ok(ExitCode::from(1)),
        _ => end(args, &summary),
    }
}

fn fence(args: &FenceArgs) -> Fence {
    let half = || rustix::system::sysinfo().totalram / 2;
    let memory_limit = Some(args.memory_limit.unwrap_or_else(half));
    Fence { message_timeout: args.message_timeout, memory_limit }
}

/// A post office is its own directory.
fn knows_itself(queues: &[Queue]) -> bool {
    queues.iter().all(|queue| queue.format() == Format::PostOffice)
}

/// A request to stop, which signals set.
fn listen() -> anyhow::Result<Stop> {
    let stop = Stop::default();
    for signal in [SIGINT, SIGTERM] {
        // A second signal ends at once: what is committed is safe all the same.
        signal_hook::flag::register_conditional_shutdown(signal, 1, stop.flag())?;
        signal_hook::flag::register(signal, stop.flag())?;
    }
    Ok(stop)
}

fn tell_passed_over(queues: &[Queue]) {
    for queue in queues {
        let passed_over = queue.file_list().map_or(0, FileList::passed_over);
        if passed_over > 0 {
            let path = queue.path().display();
            let what = "entries were passed over: they are neither files nor folders";
            output::tell(&format!("{path}: {passed_over} {what}"));
        }
    }
}

fn request(args: &RunArgs, queues: Vec<Queue>) -> anyhow::Result<Request> {
    let clock = options::now(None)?;
    let own = hostname(&options::host()).unwrap_or_else(|_| "localhost".to_owned());
    Ok(Request {
        now: args.now,
        hostname: args.hostname.clone(),
        part_bytes: args.part_size,
        policy: Policy {
            remote: match args.remote {
                RemoteArg::Relay => Remote::Relay,
                RemoteArg::Fail => Remote::Fail,
            },
            hops_max: args.hops,
            lifetime_s: args.lifetime,
        },
        recipients: args.recipients.order(),
        accepted: match args.accepted {
            AcceptedArg::Copy => Accepted::Copy,
            AcceptedArg::Refer => Accepted::Refer,
        },
        ..Request::new(queues, args.directory.clone(), clock, own)
    })
}

/// Progress with rate and time left, on a terminal.
fn bar(args: &RunArgs, run: &Run) -> ProgressBar {
    let bar = ProgressBar::new(run.total_bytes());
    if args.quiet || args.json || !io::stderr().is_terminal() {
        bar.set_draw_target(ProgressDrawTarget::hidden());
    }
    let template =
        "{bar:30} {percent:>3}%  {bytes}/{total_bytes}  {bytes_per_sec}  {eta} left  {msg}";
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar
}

/// Says what is left and why, and gives the exit code.
fn end(args: &RunArgs, summary: &Summary) -> anyhow::Result<ExitCode> {
    for error in &summary.errors {
        output::tell(&error.to_string());
    }
    if !summary.finished {
        let out = args.out.display();
        let (done, all) = (summary.parts_committed, summary.parts);
        bail!("stopped with {done} of {all} parts committed in {out} (run it again to go on)");
    }
    let counts = &summary.counts;
    let set_aside = counts.quarantined + counts.damaged + counts.faults > 0;
    Ok(if set_aside { ExitCode::from(3) } else { ExitCode::SUCCESS })
}

fn print_json(
    args: &RunArgs,
    run: &Run,
    summary: &Summary,
    log: Option<&Logged>,
    drained: Option<&Drained>,
) -> anyhow::Result<()> {
    let log = log.map(|log| {
        let error = log.error.as_ref().map(ToString::to_string);
        serde_json::json!({"events": log.events, "missing": log.missing, "error": error})
    });
    let object = serde_json::json!({
        "run": args.out,
        "finished": summary.finished,
        "parts": summary.parts,
        "parts_committed": summary.parts_committed,
        "parts_resumed": run.parts_done(),
        "workers_lost": summary.workers_lost,
        "deaths": summary.deaths,
        "counts": summary.counts,
        "accepted": summary.accepted,
        "log": log,
        "drained": drained,
        "errors": summary.errors.iter().map(ToString::to_string).collect::<Vec<_>>(),
    });
    output::write_json(&mut io::stdout().lock(), &object)
}

fn print_table(
    out: &Path,
    run: &Run,
    summary: &Summary,
    (done, seconds): (u64, f64),
) -> io::Result<()> {
    let counts = &summary.counts;
    let mut to = BufWriter::new(io::stdout().lock());
    if run.parts_done() > 0 {
        let (before, all) = (run.parts_done(), summary.parts);
        writeln!(to, "went on: {before} of {all} parts were committed before")?;
    }
    #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
    let rate = done as f64 / 1e6 / seconds.max(1e-9);
    let (messages, bytes) = (counts.messages, counts.content_bytes);
    write!(to, "{messages} messages, {bytes} bytes of content, in {seconds:.2} s")?;
    writeln!(to, " ({rate:.0} MB/s of queue)\n")?;
    for (what, count, stream) in rows(counts) {
        write!(to, "{what:<34}{count:>12}")?;
        match stream {
            Some(stream) => writeln!(to, "  {}", output::shown(out.join(stream).display()))?,
            None => writeln!(to)?,
        }
    }
    if summary.accepted == Accepted::Refer {
        let stays = "Accepted mail stays in the queue, which has to stay as it is";
        let out = output::shown(out.display());
        writeln!(to, "\n{stays}. To copy it: inqueue convert {out}/accepted")?;
    }
    if summary.finished {
        let out = output::shown(out.display());
        let stream = if counts.reports > 0 { "ndr" } else { "accepted" };
        writeln!(to, "\nProve it: inqueue audit {out}")?;
        writeln!(to, "Look into it: inqueue inspect {out}/{stream}")?;
    }
    to.flush()
}

/// What is said in the table: recipients by outcome, reports, and what was set aside.
fn rows(counts: &Counts) -> [(&'static str, u64, Option<&'static str>); 10] {
    [
        ("recipients delivered", counts.delivered, Some("accepted")),
        ("recipients relayed", counts.relayed, Some("accepted")),
        ("recipients expanded", counts.expanded, None),
        ("recipients served already", counts.duplicate, None),
        ("recipients deferred", counts.deferred, Some("deferred")),
        ("recipients failed, and reported", counts.failed, Some("ndr")),
        ("reports made", counts.reports, Some("ndr")),
        ("recipients in dead letters", counts.dead_letter, Some("dead-letter")),
        ("messages quarantined", counts.quarantined, Some("quarantine")),
        ("damaged ranges quarantined", counts.damaged, Some("quarantine")),
    ]
}
