class Handler:
    def initialize(self, context):
        raise MemoryError("too large")

    def handle(self, data, context):
        return data
