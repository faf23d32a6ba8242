package polystore.fiji.transport;

import java.util.ArrayList;
import java.util.Collections;
import java.util.HashMap;
import java.util.IdentityHashMap;
import java.util.Iterator;
import java.util.LinkedHashMap;
import java.util.LinkedHashSet;
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
    // Locks: the lock of this object guards queue, droppable, newest, rooms, nbytes and isEnded, and
    // touched of rooms.

    /** Milliseconds: a producer sends the next piece in a thousandth of that. */
    private static final long SILENT = 500;

    private final long limit;

    private Set<Delivery> queue = new LinkedHashSet<>();
    /** Those of the queue that may be discarded. */
    private Set<Delivery> droppable = new LinkedHashSet<>();
    /** The one of each place that a newer one replaces: there are never two. */
    private Map<Object, Delivery> newest = new HashMap<>();
    /** The room of values that have come in part. */
    private final Set<Room> rooms = Collections.newSetFromMap(new IdentityHashMap<>());
    /** How much is queued, or has room. */
    private long nbytes;
    private boolean isEnded;

    Inbox(long limit) {
        this.limit = limit;
    }

    /** Reserve room, unless the value has it already; false if there is not enough now. */
    synchronized boolean reserve(Room room) {
        if (!rooms.contains(room)) {
            if (room.isWaiting && nbytes > 0 && nbytes + room.nbytes > limit) {
                return false;
            }
            rooms.add(room);
            nbytes += room.nbytes;
        }
        room.touch();
        return true;
    }

    /** Wait for room, also that of silent producers; false if this has ended before. */
    synchronized boolean await(Room room) throws InterruptedException {
        releaseSilent();
        while (!reserve(room)) {
            if (isEnded) {
                return false;
            }
            wait(SILENT);
            releaseSilent();
        }
        return true;
    }

    /** A producer that was stopped goes on later, once there is room for its value again. */
    private void releaseSilent() {
        long now = System.nanoTime();
        for (Room room : new ArrayList<>(rooms)) {
            if (now - room.touched > SILENT * 1_000_000) {
                release(room);
            }
        }
    }

    /** Give the room back, if the value has any. */
    synchronized void release(Room room) {
        if (rooms.remove(room)) {
            nbytes -= room.nbytes;
            notifyAll();
        }
    }

    /** Append a value instead of its room, or a query; return what was discarded, and how. */
    synchronized Map<Delivery, String> push(Delivery delivery, Room room) {
        release(room);
        nbytes += delivery.nbytes();
        Map<Delivery, String> discarded = displaced(delivery.item);
        for (Delivery old : discarded.keySet()) {
            queue.remove(old);
            droppable.remove(old);
            if (coalesces(old.item)) {
                newest.remove(old.item.place());
            }
            nbytes -= old.nbytes();
        }
        if (!discarded.isEmpty()) {
            notifyAll();
        }
        queue.add(delivery);
        if (delivery.item != null && !delivery.item.policy.equals("block")) {
            droppable.add(delivery);
        }
        if (coalesces(delivery.item)) {
            newest.put(delivery.item.place(), delivery);
        }
        return discarded;
    }

    private Map<Delivery, String> displaced(Item item) {
        if (item == null || item.policy.equals("block")) {
            return Collections.emptyMap();
        }
        Map<Delivery, String> found = new LinkedHashMap<>();
        long excess = nbytes - limit;
        Delivery replaced = coalesces(item) ? newest.get(item.place()) : null;
        if (replaced != null) {
            found.put(replaced, "coalesced");
            excess -= replaced.nbytes();
        }
        for (Iterator<Delivery> all = droppable.iterator(); excess > 0 && all.hasNext();) {
            Delivery old = all.next();
            if (found.putIfAbsent(old, "dropped") == null) {
                excess -= old.nbytes();
            }
        }
        return found;
    }

    private static boolean coalesces(Item item) {
        return item != null && item.policy.equals("coalesce");
    }

    synchronized List<Delivery> take() {
        if (queue.isEmpty()) {
            return Collections.emptyList();
        }
        List<Delivery> taken = new ArrayList<>(queue);
        queue = new LinkedHashSet<>(); // new ones: to clear a large one takes long each time
        droppable = new LinkedHashSet<>();
        newest = new HashMap<>();
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
