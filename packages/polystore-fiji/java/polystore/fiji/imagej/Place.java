package polystore.fiji.imagej;

import java.util.Arrays;

/** Coordinates of one plane on the axes of a hyperstack. They sort naturally (2 before 10). */
final class Place {
    /** Each is a list, because several sliders and axes may share one dimension of ImageJ. */
    final Coordinate c, z, t;
    private final int hash;

    Place(Coordinate c, Coordinate z, Coordinate t) {
        this.c = c;
        this.z = z;
        this.t = t;
        hash = (c.hash * 31 + z.hash) * 31 + t.hash;
    }

    @Override
    public boolean equals(Object other) {
        return other instanceof Place
                && c.equals(((Place) other).c)
                && z.equals(((Place) other).z)
                && t.equals(((Place) other).t);
    }

    @Override
    public int hashCode() {
        return hash;
    }

    @Override
    public String toString() {
        return c + " " + z + " " + t;
    }

    static final class Coordinate implements Comparable<Coordinate> {
        final String[] parts;
        private final int hash;

        Coordinate(String... parts) {
            this.parts = parts;
            hash = Arrays.hashCode(parts);
        }

        Coordinate with(String part) {
            String[] more = Arrays.copyOf(parts, parts.length + 1);
            more[parts.length] = part;
            return new Coordinate(more);
        }

        @Override
        public int compareTo(Coordinate other) {
            for (int at = 0; at < Math.min(parts.length, other.parts.length); at++) {
                int order = compareNaturally(parts[at], other.parts[at]);
                if (order != 0) return order;
            }
            return parts.length - other.parts.length;
        }

        @Override
        public boolean equals(Object other) {
            return this == other
                    || other instanceof Coordinate
                            && Arrays.equals(parts, ((Coordinate) other).parts);
        }

        @Override
        public int hashCode() {
            return hash;
        }

        @Override
        public String toString() {
            return String.join(", ", parts);
        }
    }

    /**
     * Compare like all of polystore: runs of digits by their value, "/" before them, and all other
     * characters after them by their code points. Equal values are sorted by their text.
     */
    static int compareNaturally(String a, String b) {
        int i = 0;
        int j = 0;
        while (i < a.length() && j < b.length()) {
            if (isDigit(a.charAt(i)) && isDigit(b.charAt(j))) {
                int iEnd = digitsEnd(a, i);
                int jEnd = digitsEnd(b, j);
                while (i < iEnd && a.charAt(i) == '0') i++;
                while (j < jEnd && b.charAt(j) == '0') j++;
                int order = iEnd - i - (jEnd - j);
                if (order == 0) order = a.substring(i, iEnd).compareTo(b.substring(j, jEnd));
                if (order != 0) return order;
                i = iEnd;
                j = jEnd;
            } else {
                int order = rank(a.codePointAt(i)) - rank(b.codePointAt(j));
                if (order != 0) return order;
                i = a.offsetByCodePoints(i, 1);
                j = b.offsetByCodePoints(j, 1);
            }
        }
        int order = a.length() - i - (b.length() - j);
        return order != 0 ? order : a.compareTo(b);
    }

    private static int rank(int character) {
        if (character == '/') return -2;
        return character >= '0' && character <= '9' ? -1 : character;
    }

    private static boolean isDigit(char c) {
        return c >= '0' && c <= '9';
    }

    private static int digitsEnd(String text, int from) {
        int end = from;
        while (end < text.length() && isDigit(text.charAt(end))) end++;
        return end;
    }
}
