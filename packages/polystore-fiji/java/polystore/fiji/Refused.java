package polystore.fiji;

/** Something that is not taken, with the reason that its sender is told. */
final class Refused extends Exception {
    private static final long serialVersionUID = 1L;

    Refused(String reason) {
        super(reason, null, false, false);
    }
}
