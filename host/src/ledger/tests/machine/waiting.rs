//! What happens to calls that wait, in the model and in the ledger.

use super::super::asked::question;
use super::*;

impl Run {
    pub(super) async fn wait(&mut self, n: u8) {
        let Some((&key, _)) = pick(&self.leases, n) else { return };
        let (call, lease) = self.leases.remove(&key).expect("picked");
        let again = self.model(key).held.expect("a lease holds the key").again;
        let stands = again.is_none_or(|again| self.stands(key, again));
        match self.world.enqueue(&call, Some(lease)).await {
            Ok(queued) if stands => {
                self.model(key).held.as_mut().expect("as above").waits = true;
                self.queue.push((call.id, key));
                self.waiting.insert(key, (call, queued));
            }
            Err(LedgerError::Claimed { .. }) if !stands => self.model(key).held = None,
            other => panic!("key {key}: the model says {stands}, the ledger {other:?}"),
        }
    }

    pub(super) async fn start(&mut self, n: u8) {
        let Some((&key, _)) = pick(&self.waiting, n) else { return };
        let (call, queued) = self.leave_queue(key);
        self.begin(key, call, Origin::Queued(queued)).await;
    }

    pub(super) fn let_go(&mut self, n: u8) {
        let Some((&key, _)) = pick(&self.waiting, n) else { return };
        let (call, queued) = self.waiting.remove(&key).expect("picked");
        drop(queued);
        let mut taken = self.world.ledger.queued_calls().expect("readable");
        let queued = taken.pop().expect("nobody holds it").queued;
        assert_eq!((queued.call(), taken.len()), (call.id, 0));
        self.waiting.insert(key, (call, queued));
    }

    pub(super) async fn dequeue(&mut self, n: u8) {
        let Some((&key, _)) = pick(&self.waiting, n) else { return };
        let (call, queued) = self.leave_queue(key);
        let told = answer(&call.id.to_string());
        self.world.ledger.dequeue(queued, &call.principal, &told, true).await.expect("recorded");
        let state = self.world.ledger.call(&call.id).expect("readable").expect("remembered");
        assert_eq!((state.status, state.response), (CallStatus::Released, Some(told)));
        self.model(key).held = None;
    }

    pub(super) async fn ask(&mut self, n: u8) {
        let Some((&key, _)) = pick(&self.intents, n) else { return };
        let intent = self.intents.remove(&key).expect("picked");
        let held = self.model(key).held.expect("an intent runs");
        let call = Call { id: held.call, ..keyed(key, held.arguments) };
        let queued = self.world.ask(&call, intent, &SILENT, &[question()]).await.expect("recorded");
        let held = self.model(key).held.as_mut().expect("as above");
        (held.waits, held.running) = (true, None);
        assert_eq!(self.world.status(&call), Some(CallStatus::Asking));
        self.queue.push((call.id, key));
        self.waiting.insert(key, (call, queued));
    }

    pub(super) async fn answer(&mut self, n: u8) {
        let Some((&key, _)) = pick(&self.waiting, n) else { return };
        let (call, queued) = &self.waiting[&key];
        let facts = QueuedFacts { until: Timestamp(self.now() + HOUR), ..call.queued() };
        self.world.ledger.record_answers(queued, &facts).await.expect("recorded");
        assert_eq!(self.world.status(call), Some(CallStatus::Queued));
    }

    /// After a crash: the calls that wait are given out again, in their order.
    pub(super) fn requeue(&mut self) {
        let mut before = std::mem::take(&mut self.waiting);
        let taken = self.world.ledger.queued_calls().expect("readable");
        let order: Vec<_> = taken.iter().map(|taken| taken.queued.call()).collect();
        assert_eq!(order, self.queue.iter().map(|(call, _)| *call).collect::<Vec<_>>());
        for (taken, (_, key)) in taken.into_iter().zip(self.queue.clone()) {
            let again = taken.queued.lease().and_then(Lease::again);
            assert_eq!(again, self.model(key).held.expect("it waits").again);
            // Whoever held it died with the host.
            let (call, _) = before.remove(&key).expect("it waited");
            self.waiting.insert(key, (call, taken.queued));
        }
    }

    /// Whether what a call wants to ask again for is still unknown.
    fn stands(&mut self, key: u8, again: Again) -> bool {
        matches!(self.model(key).stored, Some(Stored::Unknown { first, .. }) if first == again.first)
    }

    fn leave_queue(&mut self, key: u8) -> (Call, QueuedCall) {
        let (call, queued) = self.waiting.remove(&key).expect("picked");
        self.queue.retain(|(waiting, _)| *waiting != call.id);
        (call, queued)
    }
}
