package polystore.fiji;

import java.util.ArrayList;
import java.util.Collections;
import java.util.IdentityHashMap;
import java.util.Iterator;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;

/**
 * What has come and was not taken yet: in order, of a limited number of bytes (one value may be
 * larger, alone).
 *
 * <ul>
 * <li>"block": nothing is discarded; who has more waits for room.
 * <li>"drop_oldest": the oldest make room, unless their own policy is "block".
 * <li>"coalesce": a newer value takes the place of one with the same path; else as above.
 * </ul>
 */
final class Inbox {
    private final long limit;
    private List<Delivery> queue = new ArrayList<>();
    private long nbytes;
    private boolean isEnded;

    Inbox(long limit) {
        this.limit = limit;
    }

    /** Take room for what is on its way: it is pushed, or released. */
    synchronized void reserve(long more) {
        nbytes += more;
    }

    /** Take room once there is some; false if there is none after that many milliseconds. */
    synchronized boolean reserve(long more, long patience) throws InterruptedException {
        long end = System.nanoTime() + patience * 1_000_000;
        while (nbytes > 0 && nbytes + more > limit) {
            long left = (end - System.nanoTime()) / 1_000_000;
            if (left <= 0 || isEnded) {
                return false;
            }
            wait(left);
        }
        nbytes += more;
        return true;
    }

    synchronized void release(long less) {
        nbytes -= less;
        notifyAll();
    }

    /** Append what room was taken for; return what was discarded for it, and how. */
    synchronized Map<Delivery, String> push(Delivery delivery) {
        Map<Delivery, String> discarded = displaced(delivery.item);
        if (!discarded.isEmpty()) {
            Set<Delivery> gone = Collections.newSetFromMap(new IdentityHashMap<>());
            gone.addAll(discarded.keySet());
            queue.removeIf(gone::contains);
            for (Delivery old : gone) {
                release(old.nbytes());
            }
        }
        queue.add(delivery);
        return discarded;
    }

    private Map<Delivery, String> displaced(Item item) {
        if (item == null || item.policy.equals("block")) {
            return Collections.emptyMap();
        }
        Map<Delivery, String> found = new LinkedHashMap<>();
        long excess = nbytes - limit;
        if (item.policy.equals("coalesce")) {
            for (Delivery old : queue) {
                if (old.item != null && old.item.policy.equals("coalesce")
                    && item.replaces(old.item)) {
                    found.put(old, "coalesced");
                    excess -= old.nbytes();
                }
            }
        }
        for (Iterator<Delivery> all = queue.iterator(); excess > 0 && all.hasNext();) {
            Delivery old = all.next();
            if (old.item != null && !old.item.policy.equals("block")
                && found.putIfAbsent(old, "dropped") == null) {
                excess -= old.nbytes();
            }
        }
        return found;
    }

    synchronized List<Delivery> take() {
        if (queue.isEmpty()) {
            return Collections.emptyList();
        }
        List<Delivery> taken = queue;
        queue = new ArrayList<>();
        for (Delivery delivery : taken) {
            nbytes -= delivery.nbytes();
        }
        notifyAll();
        return taken;
    }

    /** Let nobody wait any more. */
    synchronized void end() {
        isEnded = true;
        notifyAll();
    }

    synchronized long nbytes() {
        return nbytes;
    }
}
