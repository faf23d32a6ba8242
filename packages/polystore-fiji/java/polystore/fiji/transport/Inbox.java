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
 * A bounded queue of deliveries, and the policies that apply when it is full. One value may be
 * larger than the limit, if it is alone.
 *
 * <ul>
 * <li>"block": nothing is discarded. The producer waits for room.
 * <li>"drop_oldest": the oldest values are discarded, unless their own policy is "block".
 * <li>"coalesce": a newer value replaces one with the same path. Otherwise like "drop_oldest".
 * </ul>
 */
final class Inbox {
    // Locks: the lock of this object guards queue, droppable, newest, rooms, nbytes and isEnded, and
    // touched of rooms.

    /** Milliseconds without a piece. A running producer needs a thousandth of that. */
    private static final long SILENT = 500;

    private final long limit;

    private Set<Delivery> queue = new LinkedHashSet<>();
    /** The deliveries of the queue that may be discarded. */
    private Set<Delivery> droppable = new LinkedHashSet<>();
    /** By its place, the delivery that a newer one replaces. */
    private Map<Object, Delivery> newest = new HashMap<>();
    /** The room of values whose pieces are still coming. */
    private final Set<Room> rooms = Collections.newSetFromMap(new IdentityHashMap<>());
    /** Bytes that are queued or reserved. */
    private long nbytes;
    private boolean isEnded;

    Inbox(long limit) {
        this.limit = limit;
    }

    /** Reserve room, unless the value has it already. False if there is not enough now. */
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

    /** Wait for room, including that of silent producers. False if the inbox has ended. */
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

    /** Free the room of silent producers. A stopped one continues when there is room again. */
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

    /** Append a value whose room was reserved, or a query. Return what was discarded, and how. */
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
        queue = new LinkedHashSet<>(); // clearing a large one takes long each time
        droppable = new LinkedHashSet<>();
        newest = new HashMap<>();
        for (Delivery delivery : taken) {
            nbytes -= delivery.nbytes();
        }
        notifyAll();
        return taken;
    }

    /** Wake all waiting threads. From now on none waits. */
    synchronized void end() {
        isEnded = true;
        notifyAll();
    }

    synchronized long nbytes() {
        return nbytes;
    }
}
