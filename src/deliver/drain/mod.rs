//! The drain: what a run has committed is delivered into the mailbags of its post offices, and
//! taken out of their INQUEUE3 (docs/postoffice.md, docs/drain.md).
//!
//! `orders` reads the streams, `work` says what is to be done to one post office, `apply` does it,
//! `lock` keeps others out, `report` writes the original's reports. All is logged before it is done
//! (`spool::drain`), so that it can be killed at any point and run again. Post offices are drained
//! in batches, each step for the whole batch before the next, so that there are few syncs. Not
//! here: judging, and other queues than INQUEUE3. Invariants: a record is in its bag, on the disk,
//! before its slot is taken out; a slot is out before its P1 goes; one post office that can't be
//! drained doesn't stop the others.

mod apply;
mod lock;
mod orders;
mod report;
mod tell;
mod work;

pub use lock::{Locks, Owner};

use crate::limits;
use crate::mail::date::Time;
use crate::queue::postoffice::list::{Bag, BagList, Slot};
use crate::queue::postoffice::office::Office;
use crate::queue::postoffice::tables::Tables;
use crate::queue::{Queue, Span, postoffice};
use crate::spool::drain::{self, DrainLog, OfficeId, Put, Step, Work};
use crate::spool::folder::{self, Planned};
use crate::spool::{SpoolError, Sync, commits};
use apply::How;
use orders::Orders;
use rayon::prelude::*;
use std::collections::{HashMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};
use tell::Tell;
use work::Site;

/// What was drained.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Drained {
    /// Post offices that are done.
    pub offices: u64,
    /// Slots that were taken out of INQUEUE3.
    pub slots: u64,
    /// Records that were put into mailbags, reports among them.
    pub records: u64,
    /// Reports among these.
    pub reports: u64,
    /// Reports that no mailbag leads to: they stay in the stream.
    pub reports_left: u64,
    /// Records that wait for room: their bags are full, or can't be used.
    pub waiting: u64,
}

/// The locks of all post offices of some queues, given back when dropped.
///
/// # Errors
/// Someone else has one of them, or a queue can't be drained.
pub fn lock(queues: &[Queue], owner: &Owner) -> Result<Locks, DrainError> {
    let mut locks = Locks::none(owner);
    for queue in queues {
        let list = drainable(queue)?;
        let root = postoffice::root(queue.path());
        raise_file_limit(list.bags().len());
        for bag in list.bags() {
            let taken = locks.take(&Office::at(&root.join(&bag.office)), owner);
            if let Err(DrainError::Locked { path, .. }) = &taken
                && folder::is_run(&owner.run)
            {
                let mut tell = Tell::new(owner.now);
                tell.locked(path);
                tell.write(&owner.run);
            }
            taken?;
        }
    }
    Ok(locks)
}

/// Each lock is an open file; the usual limit is 1,024.
fn raise_file_limit(locks: usize) {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let wanted = locks as u64 + 512;
    if limit.current.is_some_and(|current| current < wanted) {
        let current = Some(limit.maximum.map_or(wanted, |maximum| maximum.min(wanted)));
        // Where it can't be raised, taking a lock says so.
        let _ = setrlimit(Resource::Nofile, Rlimit { current, maximum: limit.maximum });
    }
}

fn drainable(queue: &Queue) -> Result<&BagList, DrainError> {
    let is_inqueue = |bag: &Bag| bag.bag() == "INQUEUE3";
    match queue.bag_list() {
        Some(list) if list.bags().iter().all(is_inqueue) => Ok(list),
        _ => Err(DrainError::NotDrainable { path: queue.path().to_owned() }),
    }
}

/// Drains the post offices of a run whose parts are all committed; goes on where a drain was cut
/// off. So many post offices are worked on at a time as there are `workers`; as processors, where
/// none are named.
///
/// # Errors
/// The run can't be read, or isn't finished; its log can't be written. What went wrong with single
/// post offices comes beside what was done.
pub fn drain(
    run: &Path,
    sync: Sync,
    workers: Option<usize>,
) -> Result<(Drained, Vec<DrainError>), DrainError> {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(workers.unwrap_or(0)).build();
    match pool {
        Ok(pool) => pool.install(|| drain_run(run, sync)),
        // Without threads of its own it works on those that are there.
        Err(_) => drain_run(run, sync),
    }
}

fn drain_run(run: &Path, sync: Sync) -> Result<(Drained, Vec<DrainError>), DrainError> {
    let Planned { plan, queues } = folder::read_plan(run)?;
    let now = plan.options.clock();
    let (commits, _) = commits::read(run)?;
    if commits.len() < plan.parts.len() {
        return Err(DrainError::NotCommitted { run: run.to_owned() });
    }
    let (steps, good) = drain::read(run)?;
    let log = DrainLog::open(run, good)?;
    let mut tell = Tell::new(now);
    for queue in &queues {
        tell.offices(queue.bag_list().map(BagList::offices).unwrap_or_default());
    }
    tell.write(run);
    let mut drainer = Drainer {
        run: run.to_owned(),
        tell,
        log,
        sync: sync != Sync::Never,
        state: State::of(steps),
        drained: Drained::default(),
        errors: Vec::new(),
    };
    let by_part: HashMap<u32, &commits::Commit> =
        commits.iter().map(|commit| (commit.part, commit)).collect();
    for (index, queue) in queues.iter().enumerate() {
        let Some(list) = queue.bag_list() else { continue };
        let spans = plan.parts.iter().zip(0_u32..).filter(|(part, _)| part.queue == index);
        let spans: Vec<(&Span, u32)> = spans.map(|(part, number)| (&part.span, number)).collect();
        let all: Vec<Site<'_>> = sites(index, queue, list, now);
        let mut at = 0;
        for batch in batches(&all) {
            let end = at + batch.iter().map(|site| site.slots.len() as u64).sum::<u64>();
            let parts = spans.iter().filter_map(|(span, number)| match span {
                Span::Files(start, stop) if *start < end && *stop > at => by_part.get(number),
                _ => None,
            });
            let orders: Result<Vec<Orders>, DrainError> = if drainer.is_known(batch) {
                Ok(Vec::new())
            } else {
                let parts: Vec<_> = parts.collect();
                parts.par_iter().map(|c| orders::of_part(run, plan.digits(), c)).collect()
            };
            let mut all = Orders::new();
            orders?.into_iter().for_each(|orders| all.extend(orders));
            drainer.batch(batch, all)?;
            at = end;
        }
    }
    Ok((drainer.drained, drainer.errors))
}

/// The post offices of a queue, in order.
fn sites<'p>(index: usize, queue: &Queue, list: &'p BagList, now: Time) -> Vec<Site<'p>> {
    let root = postoffice::root(queue.path());
    let slots: HashMap<&str, &[Slot]> =
        list.bags_of(0..u64::MAX).map(|(bag, slots)| (bag.name.as_str(), slots)).collect();
    let site = |(bag, tables): (&'p Bag, &'p Tables)| Site {
        id: OfficeId { queue: index, path: bag.office.clone() },
        root: root.join(&bag.office),
        bag_name: &bag.name,
        bag: bag.bag(),
        slots: slots.get(bag.name.as_str()).copied().unwrap_or_default(),
        tables,
        now,
    };
    list.bags().iter().zip(list.offices()).map(site).collect()
}

/// Runs of post offices that have so many slots together, or one that has more.
fn batches<'s, 'p>(sites: &'s [Site<'p>]) -> impl Iterator<Item = &'s [Site<'p>]> {
    let mut rest = sites;
    std::iter::from_fn(move || {
        let mut slots = 0;
        let fits = |site: &&Site<'_>| {
            let is_first = slots == 0;
            slots += site.slots.len().max(1);
            is_first || slots <= limits::DRAIN_SLOTS
        };
        let count = rest.iter().take_while(fits).count();
        let (batch, behind) = rest.split_at_checked(count)?;
        rest = behind;
        (!batch.is_empty()).then_some(batch)
    })
}

/// How far each post office is, by the log.
#[derive(Default)]
struct State {
    begun: HashMap<OfficeId, Work>,
    /// All is put in, but for these.
    put_in: HashMap<OfficeId, Vec<Put>>,
    done: HashSet<OfficeId>,
}

impl State {
    fn of(steps: Vec<Step>) -> Self {
        let mut state = Self::default();
        for step in steps {
            match step {
                Step::Begun(work) => {
                    state.begun.insert(work.office.clone(), work);
                }
                Step::PutIn(office, waiting) => {
                    state.put_in.insert(office, waiting);
                }
                Step::Done(office) => {
                    state.done.insert(office);
                }
                Step::Placed(office, put) => {
                    if let Some(waiting) = state.put_in.get_mut(&office) {
                        waiting.retain(|other| *other != put);
                    }
                }
            }
        }
        state
    }
}

/// One post office on its way through the steps of a batch.
struct OnTheWay<'b, 'p> {
    site: &'b Site<'p>,
    work: Work,
    /// The work was begun by a process before this one.
    is_redo: bool,
    /// All was put in by a process before this one.
    is_put_in: bool,
    /// Records that found no place.
    waiting: Vec<Put>,
    reports_left: u64,
}

struct Drainer {
    run: PathBuf,
    tell: Tell,
    log: DrainLog,
    sync: bool,
    state: State,
    drained: Drained,
    errors: Vec<DrainError>,
}

type Going<'b, 'p> = Vec<OnTheWay<'b, 'p>>;

impl Drainer {
    /// True where the log says all that is to be done for these.
    fn is_known(&self, sites: &[Site<'_>]) -> bool {
        sites.iter().all(|site| self.state.begun.contains_key(&site.id))
    }

    fn batch(&mut self, sites: &[Site<'_>], orders: Orders) -> Result<(), DrainError> {
        let going = self.plan(sites, orders)?;
        let going = self.put_in(going)?;
        self.take_out(going)?;
        sites.iter().try_for_each(|site| self.place_waiting(site))
    }

    /// Says what is to be done, and logs it.
    fn plan<'b, 'p>(
        &mut self,
        sites: &'b [Site<'p>],
        orders: Orders,
    ) -> Result<Going<'b, 'p>, DrainError> {
        let mut by_bag: HashMap<Box<[u8]>, Orders> = HashMap::new();
        for ((bag, slot), order) in orders {
            by_bag.entry(bag.clone()).or_default().insert((bag, slot), order);
        }
        let mut left = Vec::new();
        for site in sites.iter().filter(|site| !self.state.done.contains(&site.id)) {
            let orders = by_bag.remove(site.bag_name.as_bytes()).unwrap_or_default();
            left.push((site, self.state.begun.remove(&site.id), orders));
        }
        let put_in = &self.state.put_in;
        let plan = |(site, begun, mut orders): (&'b Site<'p>, Option<Work>, Orders)| {
            let waiting = put_in.get(&site.id);
            let (is_redo, is_put_in) = (begun.is_some(), waiting.is_some());
            let waiting = waiting.cloned().unwrap_or_default();
            let (work, reports_left) = match begun {
                Some(work) => (work, 0),
                None => site.plan(&mut orders)?,
            };
            Ok(OnTheWay { site, work, is_redo, is_put_in, waiting, reports_left })
        };
        let results: Vec<_> = left.into_par_iter().map(plan).collect();
        let going = self.keep(results);
        let new = going.iter().filter(|way| !way.is_redo);
        self.log.append(new.map(|way| Step::Begun(way.work.clone())), self.sync)?;
        Ok(going)
    }

    /// Keeps what went well, and the errors of what didn't.
    fn keep<T>(&mut self, results: Vec<Result<T, DrainError>>) -> Vec<T> {
        let mut kept = Vec::with_capacity(results.len());
        for result in results {
            match result {
                Ok(value) => kept.push(value),
                Err(error) => self.errors.push(error),
            }
        }
        kept
    }

    fn put_in<'b, 'p>(&mut self, going: Going<'b, 'p>) -> Result<Going<'b, 'p>, DrainError> {
        let sync = self.sync;
        let put = |mut way: OnTheWay<'b, 'p>| {
            if !way.is_put_in {
                let how = How { is_redo: way.is_redo, sync };
                let not_in = apply::put_in(&way.site.office(), &way.work, how);
                let not_in = not_in.map_err(way.site.failed())?;
                way.waiting = not_in.waiting;
                way.reports_left += not_in.nameless as u64;
            }
            Ok(way)
        };
        let results: Vec<_> = going.into_par_iter().map(put).collect();
        let going = self.keep(results);
        self.sync(&going)?;
        let new = going.iter().filter(|way| !way.is_put_in);
        let steps = new.map(|way| Step::PutIn(way.site.id.clone(), way.waiting.clone()));
        self.log.append(steps, self.sync)?;
        for way in going.iter().filter(|way| !way.is_put_in) {
            for (index, put) in (0..).zip(&way.work.puts) {
                self.tell.put(way.site, index, put, way.waiting.contains(put));
            }
        }
        self.tell.write(&self.run);
        Ok(going)
    }

    fn take_out<'b, 'p>(&mut self, going: Going<'b, 'p>) -> Result<(), DrainError> {
        let slots = |way: OnTheWay<'b, 'p>| {
            let (office, out) = (way.site.office(), &way.work.out);
            apply::take_slots(&office, &way.site.bag, out, way.is_redo)
                .map_err(way.site.failed())?;
            Ok(way)
        };
        let results: Vec<_> = going.into_par_iter().map(slots).collect();
        let going = self.keep(results);
        self.sync(&going)?;
        let files = |way: OnTheWay<'b, 'p>| {
            let (office, out) = (way.site.office(), &way.work.out);
            apply::take_files(&office, out, way.is_put_in).map_err(way.site.failed())?;
            Ok(way)
        };
        let results: Vec<_> = going.into_par_iter().map(files).collect();
        let going = self.keep(results);
        self.sync(&going)?;
        let done = going.iter().map(|way| Step::Done(way.site.id.clone()));
        self.log.append(done, self.sync)?;
        for way in going {
            self.count(way);
        }
        Ok(())
    }

    fn count(&mut self, way: OnTheWay<'_, '_>) {
        let waits = |put: &&Put| !way.waiting.contains(put);
        let placed = || way.work.puts.iter().filter(waits);
        self.drained.offices += 1;
        self.drained.reports_left += way.reports_left;
        self.drained.slots += way.work.out.slots.len() as u64;
        self.drained.records += placed().count() as u64;
        self.drained.reports += placed().filter(|put| put.is_report).count() as u64;
        self.state.put_in.insert(way.site.id.clone(), way.waiting);
    }

    /// Tries again what waits for room since an earlier drain of this run.
    fn place_waiting(&mut self, site: &Site<'_>) -> Result<(), DrainError> {
        let Some(waiting) = self.state.put_in.remove(&site.id) else { return Ok(()) };
        for put in waiting {
            let how = How { is_redo: true, sync: self.sync };
            let left = apply::into_bag(&site.office(), &put.bag, &[&put], how);
            let left = left.map_err(site.failed()).and_then(|left| {
                // Once the log says that it is placed, it is looked for no more.
                self.sync_site(site).map(|()| left)
            });
            match left {
                Ok(left) if left.is_empty() => {
                    self.drained.records += 1;
                    self.drained.reports += u64::from(put.is_report);
                    let step = Step::Placed(site.id.clone(), put);
                    self.log.append([step].into_iter(), self.sync)?;
                }
                Ok(_) => self.drained.waiting += 1,
                Err(error) => {
                    self.drained.waiting += 1;
                    self.errors.push(error);
                }
            }
        }
        Ok(())
    }

    /// Waits until all that was written to the post offices' file system is on the disk.
    fn sync(&self, going: &[OnTheWay<'_, '_>]) -> Result<(), DrainError> {
        going.first().map_or(Ok(()), |first| self.sync_site(first.site))
    }

    fn sync_site(&self, site: &Site<'_>) -> Result<(), DrainError> {
        let sync =
            || -> io::Result<()> { Ok(rustix::fs::syncfs(std::fs::File::open(&site.root)?)?) };
        if self.sync { sync().map_err(site.failed()) } else { Ok(()) }
    }
}

/// Why a post office can't be drained.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "each says itself what it is")]
pub enum DrainError {
    #[error("{}: INQUEUE3 is in use by {owner}", path.display())]
    Locked { path: PathBuf, owner: String },
    #[error(
        "{}: a drain of {} was cut off (run that one again first: only its log knows what is done)",
        path.display(),
        run.display()
    )]
    Unfinished { path: PathBuf, run: PathBuf },
    #[error("{}: only the INQUEUE3 of post offices can be drained", path.display())]
    NotDrainable { path: PathBuf },
    #[error("{}: not all of it is judged: nothing is drained before it is", run.display())]
    NotCommitted { run: PathBuf },
    #[error("{}: cannot write: {source} (nothing is drained: run again when it is mended)",
        path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error("{}: cannot be drained: {source} (it is as it was, or goes on when you run again)",
        path.display())]
    Office { path: PathBuf, source: io::Error },
    #[error(transparent)]
    Run(#[from] SpoolError),
}
