package polystore.fiji.imagej;

/** How long the thread of the images was busy with one thing. Used in that thread alone. */
final class Pulse {
    private long last, longest;

    /** The thread is free for a moment. */
    void beat() {
        long now = System.currentTimeMillis();
        if (last > 0) longest = Math.max(longest, now - last);
        last = now;
    }

    /** Return the longest time between two beats since the last call, in seconds. */
    double take() {
        beat();
        long most = longest;
        longest = 0;
        return most / 1000.0;
    }
}
